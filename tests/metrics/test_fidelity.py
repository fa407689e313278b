"""PSNR and SSIM against the public implementations' numbers and closed forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keyframes_gan.errors import UserError
from keyframes_gan.metrics.fidelity import psnr, ssim

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
