"""Means, deviations and confidence intervals against hand-made figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keyframes_gan import metrics
from keyframes_gan.measure.scores import Scores, Statistics, of_clip, of_clips
from keyframes_gan.metrics.clips import ClipScore

PSNR, SPREAD = metrics.find("psnr"), metrics.find("sigma_ids")


def clip(*values: float | None) -> ClipScore:
    known = [value for value in values if value is not None]
    return ClipScore(values, float(np.mean(known)) if known else None)


def test_one_clip_counts_its_frames() -> None:
    found = of_clip(PSNR, clip(1, None, 2, 3, 4))
    half = 3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (found.mean, found.count, found.over) == (2.5, 4, "frames")
    assert found.std == pytest.approx(1.290994, rel=1e-6)
    assert found.ci95 == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)
    assert of_clips(PSNR, [clip(1, None, 2, 3, 4)]) == found


def test_clips_of_one_length_are_as_many_independent_means() -> None:
    found = of_clips(PSNR, [clip(0, 2), clip(2, 2), clip(1, 5)])
    half = 4.302653 * 1 / np.sqrt(3)
    assert (found.mean, found.count, found.over) == (2, 6, "clips")
    assert found.std == pytest.approx(np.std([0, 2, 2, 2, 1, 5], ddof=1))
    assert found.ci95 == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_every_frame_counts_the_same() -> None:
    found = of_clips(PSNR, [clip(30, 30, 30), clip(10), clip(None)])
    assert found.mean == 25
    assert found.count == 4


def test_metrics_of_clips_are_averaged_over_clips() -> None:
    scores = [ClipScore((None,) * length, value) for length, value in ((5, 0.1), (50, 0.3), (9, None))]
    found = of_clips(SPREAD, scores)
    assert (found.mean, found.count, found.over) == (pytest.approx(0.2), 2, "clips")
    assert found.std == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert of_clip(SPREAD, scores[0]) == Statistics(0.1, count=1)
    assert of_clips(SPREAD, scores[2:]) == Statistics(None)


@dataclass(frozen=True)
class Pool:
    amount: int

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.amount + other.amount)

    def value(self) -> float:
        return float(self.amount)


def test_sets_are_pooled() -> None:
    scores = [ClipScore((None,), None, Pool(3)), ClipScore((), None), ClipScore((None,), None, Pool(4))]
    assert of_clips(metrics.find("fid"), scores) == Statistics(7.0, count=2)
    assert of_clips(metrics.find("fid"), scores[1:2]) == Statistics(None)


def test_nothing_measured_is_none() -> None:
    assert of_clips(PSNR, [clip(None), clip()]) == Statistics(None)
    assert of_clip(PSNR, clip(None)) == Statistics(None)
    assert of_clip(PSNR, clip(4)) == Statistics(4, count=1, over="frames")
    assert Scores(metrics={"psnr": clip(4)}).mean("psnr") == 4
    assert Scores().mean("psnr") is None


@given(st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=5), min_size=2, max_size=6), st.randoms())
def test_the_order_of_clips_does_not_matter(series: list[list[float]], random: object) -> None:
    shuffled = list(series)
    random.shuffle(shuffled)
    one, two = (of_clips(PSNR, [clip(*values) for values in part]) for part in (series, shuffled))
    assert one.mean == pytest.approx(two.mean, abs=1e-9)
    assert one.ci95 == pytest.approx(two.ci95, abs=1e-6)
    assert one.ci95[0] <= one.mean <= one.ci95[1]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        means = rng.normal(50, 3, 6)
        found = of_clips(PSNR, [clip(*rng.normal(mean, 1, rng.integers(8, 12))) for mean in means])
        hits += found.ci95[0] <= 50 <= found.ci95[1]
    assert stats.binom.cdf(hits, 400, 0.92) > 0.001
    assert stats.binom.sf(hits, 400, 0.98) > 0.001
