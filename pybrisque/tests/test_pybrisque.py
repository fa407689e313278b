"""The score against published numbers, and the features against what their definitions demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pybrisque
from pybrisque import features, halve, load_live_model, score

GOLDENS = Path(__file__).resolve().parents[3] / "shared" / "parity" / "goldens"
NAMES = ("astronaut", "astronaut_crf42", "chelsea", "chelsea_crf42", "coffee", "coffee_crf42")


@pytest.fixture(scope="module")
def goldens() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not GOLDENS.is_dir():
        pytest.skip("the parity fixtures are not beside the checkout (../shared/parity)")
    with np.load(GOLDENS / "metrics_images.npz") as stored:
        pictures = {name: np.ascontiguousarray(stored[name][..., ::-1]) for name in stored}
    return json.loads((GOLDENS / "metrics.json").read_text())["single"], pictures


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_the_published_ones(name: str, goldens: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    expected, picture = goldens[0][name], goldens[1][name]
    assert score(picture, halving="paper") == pytest.approx(expected["brisque_pybrisque"], abs=1e-2)
    assert score(picture) == pytest.approx(expected["not_official_antialiased_bicubic_halving"], abs=1e-2)
    assert features(picture, halving="paper") == pytest.approx(expected["brisque_features"], abs=2e-4)


def test_channels_count_by_their_luminance(goldens: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    swapped = goldens[1]["chelsea"][..., ::-1]
    assert score(swapped, halving="paper") == pytest.approx(goldens[0]["chelsea"]["brisque_pybrisque_channels_swapped"], abs=1e-2)


def test_grey_equals_colour_of_equal_channels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    assert score(grey) == score(np.repeat(grey[..., None], 3, axis=2))


def test_noise_and_blur_of_a_natural_field_score_worse() -> None:
    rng = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    spectrum = np.fft.rfft2(rng.standard_normal((256, 256))) / np.maximum(frequency, 1 / 256)
    field = np.fft.irfft2(spectrum)
    field = 128 + 40 * field / field.std()
    natural, noisy = (np.clip(picture, 0, 255).astype(np.uint8) for picture in (field, field + 40 * rng.standard_normal(field.shape)))
    assert score(noisy) > score(natural) + 10


def test_gaussian_white_noise_has_a_gaussian_shape() -> None:
    noise = np.clip(128 + 20 * np.random.default_rng(2).standard_normal((512, 512)), 0, 255).astype(np.uint8)
    assert features(noise)[0] > 2.0  # local normalisation trims the tails of a Gaussian (shape 2), never fattens them


def test_halving_keeps_constants_and_means() -> None:
    constant = np.full((17, 24), 93.0)
    assert halve(constant, "paper").shape == halve(constant, "antialias").shape == (9, 12)
    assert halve(constant, "antialias") == pytest.approx(93.0)
    ramp = np.tile(np.arange(64.0), (20, 1))
    inner = halve(ramp, "antialias")[:, 4:-4]
    assert inner == pytest.approx(np.tile(np.arange(4, 28) * 2 + 0.5, (10, 1)))
    with pytest.raises(ValueError, match="antialias, paper"):
        halve(constant, "nearest")  # type: ignore[arg-type]


def test_flat_pictures_have_a_finite_score() -> None:
    for level in (0, 128, 255):
        assert np.isfinite(score(np.full((64, 64, 3), level, np.uint8)))


def test_model_is_the_published_one() -> None:
    model = load_live_model()
    assert model.support_vectors.shape == (774, 36)
    assert (model.gamma, model.rho) == (0.05, -153.591)
    assert np.abs(model.coefficients).max() == 1024
    with pytest.raises(ValueError, match="need coefficients"):
        pybrisque.Model(model.support_vectors, model.coefficients[1:], model.gamma, model.rho, model.feature_ranges)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((8, 40, 3), np.uint8), "at least 16x16 px, got 40x8"),
        (np.zeros((40, 40, 3)), "uint8"),
        (np.zeros((40, 40, 4), np.uint8), "RGB"),
    ],
)
def test_bad_pictures_are_refused(picture: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(picture)
