"""Restorers by name, and what the key-frame restorers feed their networks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from keyframes_gan import restorers
from keyframes_gan.devices import choose_device
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.restorers import keyframes, keyframes_lite
from keyframes_gan.restorers.reference_guided import ClipTensors, ReferenceGuided, unit_tensor, warped_references
from keyframes_gan.types import FaceClip, Reference, Restorer

SIZE = 64


def points(shift: float = 0.0) -> npt.NDArray[np.float32]:
    grid = np.stack(np.meshgrid(np.linspace(12, 50, 10), np.linspace(14, 54, 7)), -1).reshape(-1, 2)
    return (grid[:68] + np.array([shift, 0])).astype(np.float32)


def clip(count: int = 3, *, references: bool = True) -> FaceClip:
    """Crops of noise; the second frame has no reference, the others one whose landmarks lie 4 pixels to the left."""
    rng = np.random.default_rng(3)
    crops = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    ramp = np.ascontiguousarray(np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[None, :, None] * 3, (SIZE, SIZE, 3)))
    reference = Reference(ramp, None, points(-4), Fraction(0))
    given = tuple(None if index == 1 or not references else reference for index in range(count))
    return FaceClip(0, 0, crops, np.tile(np.eye(2, 3), (count, 1, 1)), np.tile(points(), (count, 1, 1)), given)


@pytest.mark.parametrize("name", restorers.names())
def test_every_row_is_a_module_with_create(name: str) -> None:
    module = importlib.import_module(restorers.RESTORERS[name][0])
    assert callable(module.create)


def test_default_is_listed_first_and_listing_imports_no_torch() -> None:
    assert restorers.names()[0] == restorers.DEFAULT
    code = "import sys, keyframes_gan.restorers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_unknown_restorer_lists_what_there_is() -> None:
    listed = ", ".join(restorers.names())
    assert {"keyframes_lite", "keyframes", "none"} <= set(restorers.names())
    with pytest.raises(UserError, match=rf"--restorer: expected one of {listed}, got 'keyframe'; did you mean keyframes\?"):
        restorers.find("keyframe")


def test_none_gives_the_crops_back() -> None:
    restorer = restorers.find("none", device="auto", precision="fp32", weights=None)
    given = clip()
    assert isinstance(restorer, Restorer)
    np.testing.assert_array_equal(restorer.restore(given, restorer.start(0)), given.crops)


@pytest.mark.parametrize("batch", [1, 2])
def test_untrained_lite_network_changes_nothing(identity_weights: Path, batch: int) -> None:
    restorer = keyframes_lite.create(weights=str(identity_weights), device="cpu")
    restorer._batch = batch
    given = clip()
    assert isinstance(restorer, Restorer)
    np.testing.assert_array_equal(restorer.restore(given, restorer.start(0)), given.crops)


def test_lite_in_bf16_stays_near(identity_weights: Path) -> None:
    restorer = keyframes_lite.create(weights=str(identity_weights), device="cpu", precision="bf16")
    given = clip()
    restored = restorer.restore(given, restorer.start(0))
    assert restored.dtype == np.uint8
    assert np.abs(restored.astype(int) - given.crops).max() <= 1


def test_frames_of_a_clip_do_not_influence_one_another(identity_weights: Path, tmp_path: Path) -> None:
    state = {
        key: value + 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
        for key, value in load_file(identity_weights).items()
    }
    save_file(state, tmp_path / "noisy.safetensors")
    restorer = keyframes_lite.create(weights=str(tmp_path / "noisy.safetensors"), device="cpu")
    given = clip()
    whole = restorer.restore(given, restorer.start(0))
    assert (whole != given.crops).any()
    for index in range(len(given)):
        part = FaceClip(0, index, *(value[index : index + 1] for value in (given.crops, given.to_crop, given.landmarks, given.references)))
        np.testing.assert_array_equal(restorer.restore(part, restorer.start(0))[0], whole[index])


def recorded(given: FaceClip, output: Any = None) -> tuple[list[ClipTensors], npt.NDArray[np.uint8]]:
    """What a network is given, and what becomes of what it returns (by default the crops)."""
    seen: list[ClipTensors] = []

    def forward(network: torch.nn.Module, tensors: ClipTensors) -> torch.Tensor:
        seen.append(tensors)
        return tensors.compressed.clone() if output is None else torch.full_like(tensors.compressed, output)

    restorer = ReferenceGuided(torch.nn.Identity(), forward, keyframes_lite.SPEC, device=torch.device("cpu"), precision=torch.float32)
    return seen, restorer.restore(given, restorer.start(0))


def test_what_the_network_sees() -> None:
    given = clip()
    seen, restored = recorded(given)
    np.testing.assert_array_equal(restored, given.crops)
    assert [tensors.valid.flatten().tolist() for tensors in seen] == [[1.0], [0.0], [1.0]]
    assert not seen[1].reference.any()
    for index, tensors in enumerate(seen):
        assert (tensors.compressed.shape, tensors.reference.shape, tensors.landmark.shape) == (
            (1, 3, SIZE, SIZE),
            (1, 3, SIZE, SIZE),
            (1, 1, SIZE, SIZE),
        )
        np.testing.assert_allclose(tensors.compressed[0].permute(1, 2, 0).numpy() * 255, given.crops[index], atol=1e-4)
        rows, columns = np.nonzero(tensors.landmark[0, 0].numpy())
        assert set(zip(columns.tolist(), rows.tolist(), strict=True)) == {(round(float(x)), round(float(y))) for x, y in points()}
        assert set(tensors.landmark.unique().tolist()) == {0.0, 1.0}


def test_references_are_warped_onto_the_crop() -> None:
    given = clip()
    warped, valid = warped_references(given)
    assert valid.tolist() == [True, False, True]
    np.testing.assert_allclose(warped[0][20:50, 20:44, 0].astype(int), np.tile((np.arange(20, 44) - 4) * 3, (30, 1)), atol=3)
    assert not warped[1].any()


def test_references_of_another_size_are_fitted() -> None:
    small = clip(1)
    large = Reference(
        np.ascontiguousarray(np.repeat(np.repeat(small.references[0].picture, 2, 0), 2, 1)),  # type: ignore[union-attr]
        None,
        ((points(-4) + 0.5) * 2 - 0.5).astype(np.float32),
        None,
    )
    fitted = FaceClip(0, 0, small.crops, small.to_crop, small.landmarks, (large,))
    np.testing.assert_allclose(warped_references(fitted)[0].astype(int), warped_references(small)[0], atol=2)


@pytest.mark.parametrize(("value", "byte"), [(-0.5, 0), (0.5, 128), (2.0, 255)])
def test_output_is_clamped_and_rounded(value: float, byte: int) -> None:
    assert set(np.unique(recorded(clip(1), value)[1])) == {byte}


def test_unit_tensor_is_between_0_and_1_in_channels_last_memory() -> None:
    tensor = unit_tensor(np.array([[[[0, 51, 255]]]], np.uint8), torch.device("cpu"))
    np.testing.assert_allclose(tensor.flatten().tolist(), [0, 0.2, 1], atol=1e-6)
    assert unit_tensor(clip().crops, torch.device("cpu")).is_contiguous(memory_format=torch.channels_last)


def test_full_network_takes_the_crop_where_there_is_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[torch.Tensor, ...]] = []

    def network(*tensors: torch.Tensor) -> torch.Tensor:
        given.append(tensors)
        return tensors[0]

    seen, _ = recorded(clip())
    for tensors in seen:
        keyframes._forward(network, tensors)  # type: ignore[arg-type]
    assert torch.equal(given[1][1], seen[1].compressed)
    assert torch.equal(given[0][1], seen[0].reference)
    assert {tensors[2].shape for tensors in given} == {(1, 3, SIZE, SIZE)}


@pytest.mark.parametrize("name", ["keyframes_lite", "keyframes"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"device": "quantum"}, "--device: expected auto, cpu, cuda, mps, or cuda:1 and so on, got 'quantum'"),
        ({"device": "meta"}, "--device: expected auto"),
        ({"device": "cuda:77"}, "--device: expected a device of this machine, got 'cuda:77'"),
        ({"precision": "fp8"}, "--precision: expected one of auto, fp32, bf16, got 'fp8'"),
    ],
)
def test_bad_device_or_precision_is_named(name: str, wrong: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        restorers.find(name, **wrong)


def test_auto_device_is_one_of_this_machine() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen", "absent", "text"])
def test_wrong_weights_are_named(identity_weights: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "wrong.safetensors"
    state = load_file(identity_weights)
    key = sorted(state)[0]
    if change == "missing":
        del state[key]
    elif change == "extra":
        state["stranger.weight"] = torch.zeros(1)
    elif change == "misshapen":
        state[key] = torch.zeros(7)
    if change == "text":
        path.write_text("not weights")
    elif change != "absent":
        save_file(state, path)
    words = {"absent": "expected a weights file", "text": "expected a checkpoint"}.get(change, f"1 {change}: .*choose other weights")
    with pytest.raises(WeightsError, match=words):
        keyframes_lite.create(weights=str(path), device="cpu")


def test_full_network_refuses_weights_of_the_small_one(identity_weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"params|DMSASFFNet"):
        restorers.find("keyframes", weights=str(identity_weights), device="cpu")


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(identity_weights: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    given = clip(9)
    restorer = keyframes_lite.create(weights=str(identity_weights), device="cuda")
    np.testing.assert_array_equal(restorer.restore(given, restorer.start(0)), given.crops)
