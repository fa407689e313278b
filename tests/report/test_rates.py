"""Bjøntegaard delta rates against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframes_gan.report.rates import RateError, bd_rate

LINE = [(100.0, 30.0), (200.0, 33.0), (400.0, 36.0), (800.0, 39.0)]
"""Three dB for every doubling: quality is linear in the logarithm of the rate, and every interpolant is that line."""
BENT = [(90.0, 28.3), (210.0, 33.9), (430.0, 36.2), (1000.0, 37.0)]


def scaled(points: list[tuple[float, float]], rate: float = 1.0, quality: float = 0.0) -> list[tuple[float, float]]:
    return [(bits * rate, value + quality) for bits, value in points]


def test_equal_curves_differ_by_nothing() -> None:
    assert bd_rate(BENT, BENT) == pytest.approx(0, abs=1e-12)


@given(factor=st.floats(0.05, 20))
@settings(max_examples=40, deadline=None)
def test_scaled_rates(factor: float) -> None:
    assert bd_rate(BENT, scaled(BENT, rate=factor)) == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("gain_db", [-2.0, 0.5, 3.0])
def test_on_a_line_a_gain_in_quality_is_a_gain_in_rate(gain_db: float) -> None:
    assert bd_rate(LINE, scaled(LINE, quality=gain_db)) == pytest.approx(100 * (2 ** (-gain_db / 3) - 1), rel=1e-9)


def test_mean_over_the_common_range_of_two_lines() -> None:
    """Slopes of 3 and 6 dB per doubling from one point: at quality 30 + q the logs of the rates differ by q/6 - q/3 doublings."""
    steep = [(100.0, 30.0), (200.0, 36.0), (400.0, 42.0), (800.0, 48.0)]
    mean_doublings = -(9.0 / 2) / 6
    assert bd_rate(LINE, steep) == pytest.approx(100 * (2**mean_doublings - 1), rel=1e-9)


def test_distances_count_the_other_way() -> None:
    distances = [(bits, 1 - value / 50) for bits, value in BENT]
    other = [(bits * 0.7, value) for bits, value in distances]
    assert bd_rate(distances, other, higher_is_better=False) == pytest.approx(-30.0, rel=1e-9)


def test_order_of_points_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    shuffled = [BENT[index] for index in rng.permutation(4)]
    assert bd_rate(LINE, shuffled) == bd_rate(LINE, BENT)


def test_swapped_curves_give_the_inverse_ratio() -> None:
    there, back = bd_rate(LINE, BENT), bd_rate(BENT, LINE)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (LINE[:3], "4 rates or more, got 3"),
        ([(0.0, 29.0), *LINE], "above zero"),
        ([*LINE, (900.0, 38.0)], "does not rise"),
        ([(bits, 40 + value) for bits, value in LINE], "no quality in common"),
        ([(100.0, 29.0), *LINE], "does not rise"),
        ([*LINE[:3], (800.0, float("inf"))], "finite"),
    ],
)
def test_curves_without_a_delta(points: list[tuple[float, float]], reason: str) -> None:
    with pytest.raises(RateError, match=reason):
        bd_rate(LINE, points)
