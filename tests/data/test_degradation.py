"""The published degradation: its parts against closed forms and BasicSR, its draws within their ranges, one draw a clip."""

from __future__ import annotations

import numpy as np
import pytest

from data.degradation import RESIZES, Degradation, Draw, blurred, gaussian_kernel
from keyframes_gan import registry  # noqa: F401  # makes BasicSR importable
from keyframes_gan.errors import MediaError

PLAIN = Draw(sigmas=(0.01, 0.01), angle=0.0, noise_levels=(0.0, 0.0), resize="area", crf=0)


def fields(count: int, color: tuple[int, int, int] = (128, 128, 128), side: int = 128) -> list[np.ndarray]:
    return [np.full((side, side, 3), color, np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("sigmas", "angle"), [((2.0, 2.0), 0.0), ((2.0, 10.0), 0.4), ((9.5, 3.0), -2.0)])
def test_kernels_are_basicsrs(sigmas: tuple[float, float], angle: float) -> None:
    from basicsr.data.degradations import bivariate_Gaussian  # noqa: PLC0415

    expected = bivariate_Gaussian(21, *sigmas, angle, isotropic=sigmas[0] == sigmas[1])
    kernel = gaussian_kernel(21, sigmas, angle)
    assert kernel.dtype == np.float32
    assert np.abs(kernel - expected).max() < 1e-7


def test_blurring_a_point_shows_the_kernel() -> None:
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    for sigmas, angle in (((3.0, 3.0), 0.0), ((2.0, 6.0), 0.7)):
        shown = blurred(point, 21, sigmas, angle)
        assert np.abs(shown[10:31, 10:31, 1] - gaussian_kernel(21, sigmas, angle)[::-1, ::-1]).max() < 1e-6
        assert np.abs(shown).sum() == pytest.approx(3, abs=1e-4)


def test_draws_keep_to_the_recipe() -> None:
    recipe, rng = Degradation(), np.random.default_rng(1)
    draws = [recipe.draw(rng) for _ in range(2000)]
    round_ = np.array([draw.sigmas[0] == draw.sigmas[1] for draw in draws])
    assert round_.mean() == pytest.approx(0.7, abs=0.035)  # over 3 standard deviations
    for way, expected in zip(RESIZES, (0.3, 0.3, 0.4), strict=True):
        assert np.mean([draw.resize == way for draw in draws]) == pytest.approx(expected, abs=0.035)
    sigmas = np.array([draw.sigmas for draw in draws])
    levels = np.array([draw.noise_levels for draw in draws])
    assert 2 <= sigmas.min() < 2.1
    assert 9.9 < sigmas.max() <= 10
    assert 0 <= levels.min() < 0.1
    assert 9.9 < levels.max() <= 10
    assert sorted({draw.crf for draw in draws}) == list(range(25, 45))
    assert not any(draw.angle for draw, is_round in zip(draws, round_, strict=True) if is_round)


def test_sizes_and_the_same_seed_the_same_clip() -> None:
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (131, 122, 3), dtype=np.uint8) for _ in range(3)]
    recipe = Degradation()
    draw = recipe.draw(np.random.default_rng(1))
    first, again = (recipe.apply(frames, draw, np.random.default_rng(2)) for _ in range(2))
    assert [(picture.shape, picture.dtype) for picture in first] == [((32, 30, 3), np.uint8)] * 3
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_weaker_ranges_shrink_towards_a_clean_picture() -> None:
    hard = Degradation(blur_sigma=(0.2, 4.2), noise_range=(2.0, 6.0), crf_range=(15, 35))
    assert hard.weaker(1.0) == hard
    half, none = hard.weaker(0.5), hard.weaker(0.0)
    assert (half.blur_sigma, half.noise_range, half.crf_range) == ((0.2, 2.2), (1.0, 3.0), (8, 18))
    assert (none.blur_sigma, none.noise_range, none.crf_range) == ((0.2, 0.2), (0.0, 0.0), (0, 0))


def test_noise_has_its_level_and_is_new_in_every_frame() -> None:
    recipe = Degradation(scale=1)
    small = [
        recipe._reduced(frame, Draw((2.0, 2.0), 0.0, (0.0, 6.0), "area", 0), rng)
        for rng in [np.random.default_rng(0)]
        for frame in fields(2)
    ]
    for picture in small:
        assert picture.std() == pytest.approx(6, rel=0.03)
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    # The first noise passes the resampling: averaging 4 x 4 pixels leaves a quarter of it.
    averaged = Degradation()._reduced(fields(1, side=512)[0], Draw((2.0, 2.0), 0.0, (8.0, 0.0), "area", 0), np.random.default_rng(0))
    assert averaged.std() == pytest.approx(2, rel=0.05)


def test_small_picture_is_the_mean_of_its_pixels() -> None:
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (128, 128, 3)).copy()
    small = Degradation().apply([ramp], PLAIN, np.random.default_rng(0))[0]
    assert np.abs(small[:, :, 1].astype(float) - (4 * np.arange(32) + 1.5)).max() <= 3


def test_right_channels_by_default_and_swapped_ones_as_published() -> None:
    rng = np.random.default_rng(0)
    red = [np.kron(rng.integers(0, 2, (16, 16)), np.ones((8, 8)))[..., None] * np.array([200, 0, 0]) for _ in range(1)]
    frames = [picture.astype(np.uint8) for picture in red]
    hard = Draw((0.01, 0.01), 0.0, (0.0, 0.0), "area", 30)
    right, swapped = (Degradation.of({"legacy": legacy}).apply(frames, hard, rng)[0].astype(float) for legacy in (False, True))
    for shown in (right, swapped):
        assert shown[..., 0].mean() > 4 * shown[..., 2].mean()  # red comes out red both times
    expected = frames[0][::4, ::4].astype(float)
    # Red carries 0.30 of the luma, blue 0.11: taken for blue, red loses more to the coarser chroma.
    assert np.abs(swapped - expected)[..., 0].mean() > 1.1 * np.abs(right - expected)[..., 0].mean()


def test_options_are_read_by_name() -> None:
    made = Degradation.of(
        {"legacy": True, "crf_range": [30, 30], "kernel_list": ["iso"], "kernel_prob": [1.0], "noise_range": [0, 0], "other": 3}
    )
    assert made == Degradation(crf_range=(30, 30), kernel_list=("iso",), kernel_prob=(1.0,), noise_range=(0, 0), swap_channels=True)


def test_frames_that_become_too_small() -> None:
    with pytest.raises(MediaError, match="at least 128 pixels for scale 128"):
        Degradation(scale=128).apply(fields(1, side=64), PLAIN, np.random.default_rng(0))
