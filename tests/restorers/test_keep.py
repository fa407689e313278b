"""KEEP as a restorer: values in and out, state from clip to clip, several tracks at once; the whole network against the public numbers."""

from __future__ import annotations

import copy
import gc
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from archs.flow import FlowField
from archs.keep_arch import KEEP
from keyframes_gan import restorers, weights
from keyframes_gan.errors import WeightsError
from keyframes_gan.restorers import keep
from keyframes_gan.types import BatchRestorer, FaceClip, RestorerSpec

Compiling = Callable[[str | Callable[..., object]], keep.Keep]
SIZE = 32
TINY: dict[str, Any] = {
    "img_size": SIZE,
    "nf": 32,
    "ch_mult": (1, 1, 2),
    "attn_resolutions": (8,),
    "res_blocks": 1,
    "emb_dim": 32,
    "codebook_size": 64,
    "dim_embd": 64,
    "n_head": 2,
    "n_layers": 2,
    "kalman_attn_head_dim": 8,
    "num_uncertainty_layers": 2,
    "cft_list": ("8", "16"),
    "cfa_list": ("8",),
    "cfa_nhead": 2,
    "cfa_dim": 16,
}


class NoMotion(FlowField):
    """Everything stands still."""

    def between(self, picture: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(picture[:, :2])


@pytest.fixture(scope="module")
def tiny() -> keep.Keep:
    torch.manual_seed(3)
    network = KEEP(**TINY)
    network.flownet = NoMotion(nn.Identity())
    nn.init.normal_(network.quantize.embedding.weight)
    nn.init.normal_(network.idx_pred_layer[1].weight)
    spec = RestorerSpec(name="tiny", summary="tiny", weights=None, crop_sizes=(SIZE,), clip_length=4, overlap=0, licence="none")
    return keep.Keep(network, spec, device=torch.device("cpu"))


def clip(count: int, seed: int = 0, size: int = SIZE) -> FaceClip:
    noise = np.random.default_rng(seed).integers(0, 256, (count, size // 4, size // 4, 3), np.uint8)
    crops = np.ascontiguousarray(noise.repeat(4, axis=1).repeat(4, axis=2))
    return of(crops)


def of(crops: npt.NDArray[np.uint8]) -> FaceClip:
    count = len(crops)
    return FaceClip(0, 0, crops, np.tile(np.eye(2, 3), (count, 1, 1)), np.zeros((count, 68, 2), np.float32))


def near(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> None:
    """Equal but for the rounding of float32."""
    assert np.abs(one.astype(int) - other).max() <= 1


def test_values_are_those_of_the_network(tiny: keep.Keep) -> None:
    given = clip(3)
    assert isinstance(tiny, BatchRestorer)
    restored = tiny.restore(given, tiny.start(0))
    assert (restored.shape, restored.dtype) == (given.crops.shape, np.uint8)
    frames = torch.from_numpy(given.crops).permute(0, 3, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        plain = tiny._network(frames, need_upscale=False)[0]
    near(restored, ((plain.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def test_the_state_goes_from_clip_to_clip(tiny: keep.Keep) -> None:
    given = clip(3)
    state = tiny.start(0)
    tiny.restore(of(given.crops[:2]), state)
    assert state.track is not None
    continued, alone = tiny.restore(of(given.crops[2:]), state), tiny.restore(of(given.crops[2:]), tiny.start(0))
    near(continued[-1], tiny.restore(given, tiny.start(0))[-1])
    assert np.abs(continued.astype(int) - alone).max() > 1


def test_several_tracks_at_once_equal_one_by_one(tiny: keep.Keep) -> None:
    clips = [clip(2, 1), clip(3, 2), clip(2, 3)]
    states = [tiny.start(row) for row in range(3)]
    for restored, one in zip(tiny.restore_many(clips, states), clips, strict=True):
        near(restored, tiny.restore(one, tiny.start(0)))
    second = [clip(2, seed) for seed in (4, 5, 6)]
    together = tiny.restore_many(second, states)
    for row, first in enumerate(clips):
        alone = tiny.start(row)
        tiny.restore(first, alone)
        near(together[row], tiny.restore(second[row], alone))


def test_clips_that_see_the_rest_equal_one_long_clip(tiny: keep.Keep) -> None:
    """Frames ahead are looked at once; what is given back for them is what came."""
    given = clip(6)
    whole, state = tiny.restore(given, tiny.start(0)), tiny.start(0)
    first = tiny.restore(replace(given, ahead=4), state)
    near(first[:2], whole[:2])
    np.testing.assert_array_equal(first[2:], given.crops[2:])
    assert state.track is not None
    assert state.track.pending == 4
    near(tiny.restore(of(given.crops[2:]), state), whole[2:])


def test_a_clip_shorter_than_what_was_seen_ahead_is_restored(tiny: keep.Keep) -> None:
    given, state = clip(6), tiny.start(0)
    tiny.restore(replace(given, ahead=4), state)
    assert tiny.restore(of(given.crops[2:4]), state).shape == (2, SIZE, SIZE, 3)
    assert state.track is not None
    assert state.track.pending == 0


def test_a_failure_leaves_the_states(tiny: keep.Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    states, calls = [tiny.start(0), tiny.start(1)], []
    whole = tiny._network.restore_clip

    def second_fails(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return whole(*given, **more)

    monkeypatch.setattr(tiny._network, "restore_clip", second_fails)
    with pytest.raises(torch.OutOfMemoryError):
        tiny.restore_many([clip(2), clip(3)], states)
    assert [state.track for state in states] == [None, None]


@pytest.fixture
def compiling(tiny: keep.Keep) -> Iterator[Compiling]:
    """Give `made(backend)`: a restorer that compiles after three frames."""
    network = copy.deepcopy(tiny._network)
    compiled = KEEP.compile_parts

    def made(backend: str | Callable[..., object]) -> keep.Keep:
        network.compile_parts = lambda: compiled(network, backend=backend)
        return keep.Keep(network, tiny.spec, device=torch.device("cpu"), compile_after=3)

    yield made
    torch.compiler.reset()
    torch.compiler.set_stance("default")


def test_it_compiles_when_that_pays_whatever_the_clips(tiny: keep.Keep, compiling: Compiling) -> None:
    """Traced only. More shapes than `torch.compile` would make versions of: it must see that sizes vary."""
    restorer = compiling("eager")
    states, plain = ([one.start(row) for row in range(4)] for one in (restorer, tiny))
    for step, (tracks, frames, ahead) in enumerate(
        [(1, 3, 0), (1, 4, 1), (2, 5, 2), (4, 6, 2), (3, 7, 3), (2, 6, 0), (1, 1, 0), (4, 2, 1), (4, 9, 0)]
    ):
        clips = [replace(clip(frames, 10 * step + row), ahead=ahead) for row in range(tracks)]
        traced = restorer.restore_many(clips, states[:tracks])
        assert restorer._compiled is (step > 0)
        for one, other in zip(traced, tiny.restore_many(clips, plain[:tracks]), strict=True):
            near(one, other)


def test_where_compiling_fails_it_says_so_and_goes_on(tiny: keep.Keep, compiling: Compiling) -> None:
    def broken(graph: object, inputs: object) -> object:
        msg = "no such compiler"
        raise RuntimeError(msg)

    restorer, given = compiling(broken), clip(6)
    state = restorer.start(0)
    first = restorer.restore(of(given.crops[:3]), state)
    with pytest.warns(RuntimeWarning, match="no such compiler"):
        second = restorer.restore(of(given.crops[3:5]), state)
    third = restorer.restore(of(given.crops[5:]), state)
    plain = tiny.start(0)
    for made, crops in ((first, given.crops[:3]), (second, given.crops[3:5]), (third, given.crops[5:])):
        near(made, tiny.restore(of(crops), plain))


@pytest.mark.parametrize(("gib", "frames"), [(0.2, 4), (6.5, 6), (12, 12), (140, 16)])
def test_a_gpu_encodes_as_many_frames_together_as_its_memory_allows(gib: float, frames: int) -> None:
    assert keep.frames_together(int(gib * 2**30)) == frames


@pytest.mark.parametrize(
    ("device", "compute", "triton", "compiler", "expected"),
    [
        ("cuda", (9, 0), True, "gcc", True),
        ("cuda", (6, 1), True, "gcc", False),
        ("cuda", (9, 0), False, "gcc", False),
        ("cuda", (9, 0), True, None, False),
        ("cpu", (9, 0), True, "gcc", False),
    ],
)
def test_it_compiles_only_where_all_that_takes_is_there(
    monkeypatch: pytest.MonkeyPatch, device: str, compute: tuple[int, int], triton: bool, compiler: str | None, expected: bool
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: compute)
    monkeypatch.setattr(keep.importlib.util, "find_spec", lambda _name: "found" if triton else None)
    monkeypatch.setattr(keep.shutil, "which", lambda name: name if name == compiler else None)
    assert keep.can_compile(torch.device(device)) is expected


def test_networks_of_other_sizes_come_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(KEEP(**TINY).state_dict(), tmp_path / "small.pth")
    row = {
        "file": "small.pth",
        "url": None,
        "sha256": weights.digest(tmp_path / "small.pth"),
        "arch": "KEEP",
        "kwargs": TINY,
        "param_key": None,
        "licence": "Apache-2.0",
        "provenance": "made here",
    }
    (tmp_path / weights.MANIFEST).write_text(json.dumps({"small": row}), encoding="utf-8")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    restorer = keep.create(weights="small", device="cpu")
    assert restorer.spec.crop_sizes == (SIZE,)
    assert restorer.restore(clip(2), restorer.start(0)).shape == (2, SIZE, SIZE, 3)


def test_it_is_never_a_silent_default() -> None:
    assert restorers.DEFAULT != "keep"
    row = weights.entry(keep.WEIGHTS)
    assert row.restricted
    assert row.file.startswith(f"KEEP-{row.sha256[:8]}")
    assert weights.entry("keep_v0").restricted


def test_weights_of_another_network_are_refused(identity_weights: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        keep.create(weights=str(identity_weights), device="cpu")


@pytest.mark.slow
def test_a_tracks_first_frame_has_the_public_numbers(made_checkpoint: Callable[..., Path], parity_dir: Path) -> None:
    """The first frame depends on no other. The stored values are not rounded, ours are, and 1e-3 of their spread may differ."""
    with np.load(parity_dir / "goldens" / "keep_T3_512.npz") as stored:
        wanted = stored["out"]
    spec = importlib.util.spec_from_file_location("parity_make_input", parity_dir / "make_input.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    restorer = keep.create(weights=str(made_checkpoint("keep_v0")), device="cpu")
    frames = module.make_clip(1, 3, 512)[:1]
    state = restorer.start(0)
    restored = restorer.restore(of(frames), state)
    levels = (np.clip(wanted[0, :1], -1, 1) + 1) * 127.5
    assert np.abs(restored[:, ::8, ::8].transpose(0, 3, 1, 2) - levels).max() <= 1.0
    del restorer, state
    gc.collect()
