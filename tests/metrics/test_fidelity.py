"""PSNR, SSIM and MS-SSIM against the public implementations' numbers and closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from keyframes_gan import metrics
from keyframes_gan.errors import UserError
from keyframes_gan.metrics.fidelity import ms_ssim, psnr, ssim

NAMES = ("astronaut", "chelsea", "coffee")


@pytest.fixture(scope="module")
def numbers(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "goldens" / "metrics.json").read_text())["pairs"]


@pytest.fixture(scope="module")
def images(parity_dir: Path) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "goldens" / "metrics_images.npz") as stored:
        return {name: np.ascontiguousarray(stored[name][..., ::-1]) for name in stored}


@pytest.mark.parametrize("name", NAMES)
def test_psnr_and_ssim_equal_the_public_numbers(name: str, numbers: dict[str, Any], images: dict[str, np.ndarray]) -> None:
    expected = numbers[f"{name}_crf42 vs {name}"]
    pair = images[f"{name}_crf42"], images[name]
    assert psnr(*pair) == pytest.approx(expected["psnr"], abs=1e-6)
    assert ssim(*pair) == pytest.approx(expected["ssim"], abs=1e-6)
    assert psnr(*pair, crop_border=4) == pytest.approx(expected["psnr_border4"], abs=1e-6)
    assert ssim(*pair, crop_border=4) == pytest.approx(expected["ssim_border4"], abs=1e-6)
    assert psnr(*pair, luma=True) == pytest.approx(expected["psnr_y"], abs=1e-4)
    assert ssim(*pair, luma=True) == pytest.approx(expected["ssim_y"], abs=1e-4)


def test_closed_forms() -> None:
    black = np.zeros((32, 40, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert ssim(black, black) == pytest.approx(1.0)
    assert psnr(black, black + np.uint8(255)) == pytest.approx(0.0)
    assert psnr(black, black + np.uint8(16)) == pytest.approx(20 * np.log10(255 / 16))
    c1 = (0.01 * 255) ** 2
    assert ssim(black, black + np.uint8(16)) == pytest.approx(c1 / (16**2 + c1))


def test_grey_equals_colour_of_equal_channels() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 256, (2, 40, 30), dtype=np.uint8)
    colour = [np.repeat(picture[..., None], 3, axis=2) for picture in (one, two)]
    assert psnr(one, two) == pytest.approx(psnr(*colour))
    assert ssim(one, two) == pytest.approx(ssim(*colour))


def test_region_counts_only_its_pixels() -> None:
    one = np.zeros((64, 64, 3), np.uint8)
    two = one.copy()
    two[:, 32:] = 100
    region = np.zeros((64, 64), bool)
    region[10:50, 8:20] = True
    assert psnr(one, two, region=region) == float("inf")
    assert ssim(one, two, region=region) == pytest.approx(1.0)
    region[:, :] = False
    region[20:40, 40:60] = True
    assert psnr(one, two, region=region) == pytest.approx(20 * np.log10(255 / 100))
    assert psnr(one, two, region=np.ones((64, 64), bool)) == pytest.approx(psnr(one, two))
    assert ssim(one, two, region=np.ones((64, 64), bool)) == pytest.approx(ssim(one, two))


def test_bad_input_gets_one_line() -> None:
    big, small = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 38, 3), np.uint8)
    with pytest.raises(UserError, match="40x32 and 38x32"):
        psnr(big, small)
    with pytest.raises(UserError, match="--crop_border: expected 0 to 15"):
        ssim(big, big, crop_border=16)
    with pytest.raises(UserError, match="at least 11x11"):
        ssim(big, big, crop_border=12)
    with pytest.raises(UserError, match="no pixel"):
        psnr(big, big, region=np.zeros((32, 40), bool))
    edge = np.zeros((32, 40), bool)
    edge[0] = True
    with pytest.raises(UserError, match="no pixel at least 5 px inside"):
        ssim(big, big, region=edge)
    with pytest.raises(ValueError, match="uint8"):
        psnr(big.astype(np.float32), big.astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_luma_scorers_give_the_public_numbers(name: str, numbers: dict[str, Any], images: dict[str, np.ndarray]) -> None:
    for metric in ("psnr", "ssim", "psnr_y", "ssim_y"):
        found = metrics.load(metric)(images[name], images[f"{name}_crf42"])
        assert found == pytest.approx(numbers[f"{name}_crf42 vs {name}"][metric], abs=1e-4)


def test_ms_ssim_of_plain_pictures_is_the_luminance_of_the_coarsest_scale() -> None:
    dark, light = (np.full((180, 200, 3), level, np.uint8) for level in (60, 90))
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 60 * 90 + c1) / (60**2 + 90**2 + c1)
    assert ms_ssim(dark, light) == pytest.approx(luminance**0.1333)
    assert ms_ssim(dark, dark) == 1.0


def test_ms_ssim_follows_its_definition() -> None:
    rng = np.random.default_rng(0)
    one = gaussian_filter(rng.uniform(0, 255, (192, 192)), 1.5)
    one = np.rint((one - one.min()) / np.ptp(one) * 255).astype(np.uint8)
    two = np.clip(one + rng.normal(0, 20, one.shape), 0, 255).astype(np.uint8)
    x, y, expected = one.astype(float), two.astype(float), 1.0
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        blur = partial(gaussian_filter, sigma=1.5, truncate=5 / 1.5)
        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        c1, c2 = 2.55**2, 7.65**2
        term = (2 * vxy + c2) / (vx + vy + c2)
        if scale == 4:
            term = term * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        expected *= term[5:-5, 5:-5].mean() ** exponent
        x, y = (part.reshape(len(part) // 2, 2, -1, 2).mean(axis=(1, 3)) for part in (x, y))
    assert ms_ssim(one, two) == pytest.approx(expected, rel=1e-9)
    assert ms_ssim(np.stack([one] * 3, axis=2), np.stack([two] * 3, axis=2)) == pytest.approx(expected, rel=1e-9)
    assert ms_ssim(one, 255 - one) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_ms_ssim_agrees_with_an_independent_library(name: str, images: dict[str, np.ndarray]) -> None:
    library = pytest.importorskip("pytorch_msssim", reason="pytorch-msssim is not installed (requirements-dev.txt)")
    pair = images[name], images[f"{name}_crf42"]
    tensors = [torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float64)) for picture in pair]
    assert ms_ssim(*pair) == pytest.approx(float(library.ms_ssim(*tensors, data_range=255)), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_ssim_agrees_with_scikit_image(name: str, images: dict[str, np.ndarray]) -> None:
    one, two = images[name], images[f"{name}_crf42"]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "truncate": 10 / 3}
    _, theirs = structural_similarity(one, two, channel_axis=2, full=True, **options)
    assert ssim(one, two) == pytest.approx(theirs[5:-5, 5:-5].mean(), abs=1e-9)
    assert psnr(one, two) == pytest.approx(peak_signal_noise_ratio(one, two, data_range=255))


def test_ms_ssim_needs_five_scales() -> None:
    small = np.zeros((175, 300, 3), np.uint8)
    with pytest.raises(UserError, match="at least 176x176 px, got 300x175"):
        ms_ssim(small, small)
    assert metrics.load("ms_ssim")(small, small) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([psnr, ssim, ms_ssim]))
def test_fidelity_is_symmetric_and_the_same_for_mirrored_pictures(seed: int, metric: Callable[..., float]) -> None:
    one, two = np.random.default_rng(seed).integers(0, 256, (2, 176, 176, 3), dtype=np.uint8)
    value = metric(one, two)
    assert metric(two, one) == pytest.approx(value)
    assert metric(one[::-1], two[::-1]) == pytest.approx(value)
    assert metric(one.transpose(1, 0, 2), two.transpose(1, 0, 2)) == pytest.approx(value)
