"""Upscaling: interpolation in closed form, networks made here, seams, memory."""

from __future__ import annotations

import importlib
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from keyframes_gan import public_networks, registry, upscale, weights
from keyframes_gan.errors import UserError, WeightsError


def a_picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def made(folder: Path, kind: str) -> Path:
    """Weights of a tiny network with random numbers: "compact4" (SRVGG), "rrdb4", "rrdb2" (pixels unshuffled first)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        architectures = importlib.import_module("spandrel.architectures")
        compact = importlib.import_module(f"{architectures.__name__}.Compact").Compact
        rrdb = importlib.import_module(f"{architectures.__name__}.ESRGAN").ESRGAN
    torch.manual_seed(1)
    if kind == "compact4":
        network = compact(num_feat=8, num_conv=2, upscale=4)
    elif kind == "rrdb4":
        network = rrdb(num_filters=8, num_blocks=1, scale=4)
    else:
        network = rrdb(in_nc=12, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2)
    path = folder / f"{kind}.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    return path


@pytest.fixture(scope="module", params=["compact4", "rrdb4"])
def x4(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("networks"), request.param)


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_interpolation_puts_pixel_centres_where_they_belong(name: str) -> None:
    ramp = np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], 20, axis=0).repeat(3, axis=2)
    large = upscale.find(name, scale=4).upscale(np.ascontiguousarray(ramp))
    assert large.shape == (80, 120, 3)
    expected = 8 * ((np.arange(120) + 0.5) / 4 - 0.5)
    np.testing.assert_allclose(large[40, 16:-16, 0], expected[16:-16], atol=1)


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_interpolation_at_scale_1_changes_nothing(name: str) -> None:
    rgb = a_picture(13, 17)
    np.testing.assert_array_equal(upscale.find(name, scale=1).upscale(rgb), rgb)


def test_a_network_gives_what_it_gives(x4: Path) -> None:
    rgb = a_picture(21, 30)
    got = upscale.find(str(x4), scale=4, tile=0, device="cpu").upscale(rgb)
    network = public_networks.load(x4, architectures=upscale.ARCHITECTURES)
    with torch.inference_mode():
        plain = network.model(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert np.abs(got - plain * 255).max() <= 0.51


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (2, {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 8, "num_block": 1, "num_grow_ch": 32}),
        (4, {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 4, "num_feat": 8, "num_block": 1, "num_grow_ch": 32}),
        (4, {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 3, "upscale": 4, "act_type": "prelu"}),
    ],
)
def test_it_equals_basicsrs_networks_with_their_public_keys(tmp_path: Path, scale: int, options: dict[str, Any]) -> None:
    torch.manual_seed(6)
    network = registry.build_network(options).eval()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "public.pth")
    rgb = a_picture(24, 36)
    got = upscale.find(str(tmp_path / "public.pth"), scale=scale, tile=0, device="cpu").upscale(rgb)
    with torch.inference_mode():
        plain = network(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert got.std() > 1
    assert np.abs(got - plain * 255).max() <= 0.51


@pytest.mark.parametrize(("scale", "size"), [(1, (33, 45)), (2, (66, 90)), (3, (99, 135)), (4, (132, 180))])
def test_the_output_has_the_scale_asked_for(tmp_path: Path, scale: int, size: tuple[int, int]) -> None:
    for kind in ("compact4", "rrdb2"):
        enlarged = upscale.find(str(made(tmp_path, kind)), scale=scale, device="cpu").upscale(a_picture(33, 45))
        assert enlarged.shape == (*size, 3)
        assert enlarged.flags.c_contiguous


@pytest.mark.parametrize("shape", [(150, 260), (97, 130), (96, 300), (200, 101)])
def test_tiles_leave_no_trace_where_the_network_sees_less_than_the_margin(tmp_path: Path, shape: tuple[int, int]) -> None:
    path, rgb = str(made(tmp_path, "compact4")), a_picture(*shape)  # four 3x3 convolutions see 4 pixels
    whole = upscale.find(path, scale=4, tile=0, device="cpu").upscale(rgb)
    tiled = upscale.find(path, scale=4, tile=96, device="cpu").upscale(rgb)
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_half_precision_differs_by_little(tmp_path: Path) -> None:
    path, rgb = str(made(tmp_path, "compact4")), a_picture(40, 40)
    exact = upscale.find(path, scale=4, device="cpu").upscale(rgb).astype(int)
    rounded = upscale.find(path, scale=4, device="cpu", precision="bf16").upscale(rgb)
    assert 0 < np.abs(exact - rounded).mean() < 1


def test_tiles_leave_no_seam_where_the_network_sees_more(tmp_path: Path) -> None:
    path, rgb = str(made(tmp_path, "rrdb4")), a_picture(150, 150)
    whole = upscale.find(path, scale=4, tile=0, device="cpu").upscale(rgb).astype(int)
    difference = np.abs(whole - upscale.find(path, scale=4, tile=96, device="cpu").upscale(rgb))
    assert difference.max() <= 3


@pytest.mark.parametrize("length", [96, 97, 128, 159, 160, 161, 500, 1921])
@pytest.mark.parametrize("tile", [96, 100, 400])
def test_tiles_cover_every_pixel_once_in_sum(length: int, tile: int) -> None:
    spans = list(upscale._spans(length, tile))
    total = np.zeros(length)
    for span in spans:
        assert span.length == min(tile, length)
        total[span.start : span.stop] += span.weights(1)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert total.min() > 0
    shared = [before.stop - after.start for before, after in itertools.pairwise(spans)]
    assert all(each >= upscale.OVERLAP - 1 for each in shared)


@pytest.mark.parametrize("error", ["DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", "CUDA out of memory"])
def test_tiles_are_halved_until_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    enlarger = upscale.find(str(made(tmp_path, "compact4")), scale=4, tile=0, device="cpu")
    assert isinstance(enlarger, upscale.Network)
    run, sizes = enlarger._run, []

    def limited(rgb: npt.NDArray[np.uint8]) -> Any:
        sizes.append(max(rgb.shape[:2]))
        if sizes[-1] > 130:
            kind = torch.OutOfMemoryError if "CUDA" in error else RuntimeError
            raise kind(error)
        return run(rgb)

    rgb = a_picture(140, 420)
    whole = enlarger.upscale(rgb)
    monkeypatch.setattr(enlarger, "_run", limited)
    difference = np.abs(whole.astype(int) - enlarger.upscale(rgb))
    assert difference.max() <= 1
    assert sizes[:2] == [420, 210]
    assert enlarger.tile == 105
    failures = sum(size > 130 for size in sizes)
    enlarger.upscale(rgb)
    assert sum(size > 130 for size in sizes) == failures == 2


def test_when_nothing_fits_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enlarger = upscale.find(str(made(tmp_path, "compact4")), scale=2, tile=400, device="cpu")

    def never(rgb: npt.NDArray[np.uint8]) -> Any:
        raise torch.OutOfMemoryError(str(rgb.shape))

    monkeypatch.setattr(enlarger, "_run", never)
    with pytest.raises(UserError, match="--bg_tile: memory does not suffice even for tiles of 96 pixels"):
        enlarger.upscale(a_picture(500, 500))


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enlarger = upscale.find(str(made(tmp_path, "compact4")), scale=2, tile=400, device="cpu")

    def broken(rgb: npt.NDArray[np.uint8]) -> Any:
        raise RuntimeError(str(rgb.shape))

    monkeypatch.setattr(enlarger, "_run", broken)
    with pytest.raises(RuntimeError, match="10, 10, 3"):
        enlarger.upscale(a_picture(10, 10))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("bicubik", {}, "did you mean bicubic"),
        ("bicubic", {"scale": 0}, "--upscale: expected 1 to 4, got 0"),
        ("realesrgan", {"tile": 20}, "--bg_tile"),
        ("realesrgan", {"device": "tpu"}, "--device"),
        ("realesrgan", {"precision": "fp8"}, "--precision"),
        ("none.pth", {}, "nothing there"),
    ],
)
def test_mistakes_are_one_line(name: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        upscale.find(name, **({"scale": 2} | change))
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="1 tensors of none"):
        upscale.find(str(tmp_path / "other.pth"), scale=2)
    path = made(tmp_path, "compact4")
    with pytest.raises(WeightsError, match="expected weights of GFPGAN, got Compact"):
        public_networks.load(path, architectures=("GFPGAN",))
    state = weights.load_state(path)
    torch.save({**state, "body.0.weight": torch.zeros(8, 3, 5, 5)}, path)
    with pytest.raises(WeightsError, match="do not fit") as error:
        upscale.find(str(path), scale=2)
    assert "\n" not in str(error.value)


def test_the_smallest_sufficient_network_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def load(name: str, **_: Any) -> Any:
        asked.append(name)
        return public_networks_load(made(tmp_path, "compact4"), architectures=("Compact",))

    public_networks_load = public_networks.load
    monkeypatch.setattr(public_networks, "load", load)
    for scale in (1, 2, 3, 4):
        upscale.find("realesrgan" if scale % 2 else "model", scale=scale, device="cpu")
    assert asked == ["realesrgan_x2plus", "realesrgan_x2plus", "realesrgan_x4plus", "realesrgan_x4plus"]
    assert set(asked) <= set(weights.entries())
    assert not any(weights.entry(name).restricted for name in asked)
