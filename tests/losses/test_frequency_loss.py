"""The frequency loss against closed forms and NumPy's transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from keyframes_gan.errors import OptionsError
from losses.frequency_loss import FrequencyLoss


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_numpy_gives_the_same(size: tuple[int, int]) -> None:
    first, second = noise(0, 2, 3, *size), noise(1, 2, 3, *size)
    a, b = (np.fft.rfft2(pictures.numpy(), norm="ortho") for pictures in (first, second))
    parts = np.stack([(a - b).real, (a - b).imag])
    assert float(FrequencyLoss()(first, second)) == pytest.approx(np.abs(parts).mean(), rel=1e-12)
    wanted = 0.5 * np.abs(np.abs(a) - np.abs(b)).mean()
    assert float(FrequencyLoss(0.5, kind="magnitude")(first, second)) == pytest.approx(wanted, rel=1e-12)


def test_equal_pictures_have_no_distance() -> None:
    picture = noise(0, 1, 3, 6, 6)
    for kind in ("complex", "magnitude"):
        assert FrequencyLoss(kind=kind)(picture, picture) == 0


def test_a_brighter_picture_differs_in_one_frequency() -> None:
    size, step = 8, 0.25
    picture = noise(0, 1, 1, size, size)
    got = float(FrequencyLoss(kind="magnitude")(picture + step, picture))
    assert got == pytest.approx(step * size / (size * (size // 2 + 1)))


def test_moved_detail_counts_only_where_places_do() -> None:
    columns = torch.arange(16, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * 3 * columns / 16).expand(1, 1, 16, 16)
    moved = wave.roll(2, dims=-1)
    assert FrequencyLoss(kind="magnitude")(wave, moved) == pytest.approx(0, abs=1e-12)
    assert FrequencyLoss()(wave, moved) > 1e-2


def test_half_precision_is_computed_in_float32() -> None:
    first, second = noise(0, 1, 3, 7, 9).bfloat16(), noise(1, 1, 3, 7, 9).bfloat16()
    got = FrequencyLoss()(first, second)
    assert got.dtype == torch.float32
    assert got == FrequencyLoss()(first.float(), second.float())


def test_what_does_not_fit() -> None:
    with pytest.raises(OptionsError, match="expected one of complex, magnitude, got 'phase'"):
        FrequencyLoss(kind="phase")
    with pytest.raises(ValueError, match="two equal shapes"):
        FrequencyLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
