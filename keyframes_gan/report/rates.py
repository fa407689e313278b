"""Bjøntegaard delta rate: how far apart two rate-quality curves lie, as one number.

G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33 (2001); with the piecewise cubic (PCHIP)
interpolation that replaced the single cubic, as in ITU-T HSTP-VID-WPOM (2020): unlike a cubic it does not overshoot between points.
The integrals run over the range both curves share, and are those of the interpolants, exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

Point = tuple[float, float]
"""(bits per second, quality); any unit of rate does, if both curves have the same."""
MINIMUM_POINTS = 4
Values = npt.NDArray[np.float64]


class RateError(ValueError):
    """Two curves have no Bjøntegaard delta rate; the message says why."""


def bd_rate(anchor: Sequence[Point], test: Sequence[Point], *, higher_is_better: bool = True) -> float:
    """Return how many percent more bits `test` needs than `anchor` for the same quality, on average; below zero it needs fewer.

    Args:
        anchor: four or more points (rate, quality).
        test: the same, of the method to judge.
        higher_is_better: False for distances such as LPIPS.

    Raises:
        RateError: too few points, a rate of zero or less, quality that does not rise with the rate, or curves without common qualities.
    """
    first_rate, first = _curve(anchor, higher_is_better, "anchor")
    second_rate, second = _curve(test, higher_is_better, "test")
    difference = _mean_difference((first, first_rate), (second, second_rate))
    return float(100.0 * np.expm1(difference * np.log(10.0)))


def _curve(points: Sequence[Point], higher_is_better: bool, name: str) -> tuple[Values, Values]:
    """Return log10 of the rates, ascending, and the qualities, turned so that they ascend too."""
    if len(points) < MINIMUM_POINTS:
        msg = f"{name}: expected {MINIMUM_POINTS} rates or more, got {len(points)}"
        raise RateError(msg)
    rates, qualities = np.asarray(sorted(points), np.float64).T
    if rates[0] <= 0 or not np.isfinite(qualities).all():
        msg = f"{name}: expected rates above zero and finite qualities"
        raise RateError(msg)
    turned = qualities if higher_is_better else -qualities
    if (np.diff(rates) <= 0).any() or (np.diff(turned) <= 0).any():
        msg = f"{name}: the quality does not rise with the rate from point to point"
        raise RateError(msg)
    return np.log10(rates), turned


def _mean_difference(anchor: tuple[Values, Values], test: tuple[Values, Values]) -> float:
    """Return the mean of test minus anchor, each given as (qualities, log10 of rates), over the qualities they share."""
    low, high = max(anchor[0][0], test[0][0]), min(anchor[0][-1], test[0][-1])
    if low >= high:
        msg = "the curves have no quality in common"
        raise RateError(msg)
    first, second = (float(PchipInterpolator(*curve).integrate(low, high)) for curve in (anchor, test))
    return (second - first) / float(high - low)
