"""Results of clips, and what follows from them for several clips: mean, standard deviation, 95 % confidence interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from keyframes_gan.metrics import Metric
from keyframes_gan.metrics.clips import ClipScore, Value

CONFIDENCE = 0.95
FEWEST = 2


@dataclass(frozen=True)
class Scores:
    """One clip's results for one version in one region.

    `frames` and `times`: which frames were measured, and their times in seconds, None where the source has none.
    """

    frames: tuple[int, ...] = ()
    times: tuple[Fraction | None, ...] = ()
    metrics: Mapping[str, ClipScore] = field(default_factory=dict)

    def mean(self, name: str) -> Value:
        """Return the clip's value of the metric `name`, None where nothing could be measured."""
        return self.metrics[name].value if name in self.metrics else None


@dataclass(frozen=True)
class Statistics:
    """A metric over the frames of a clip, or over several clips.

    `std`: the sample standard deviation of what was counted. `ci95`: the interval that holds the mean with 95 % confidence (Student's t).
    `over`: what is independent for that interval: "clips" where there are several, since the frames of a clip are alike; "frames" of a
    single clip, which makes it too narrow. None where it is not known.
    """

    mean: Value
    std: Value = None
    ci95: tuple[float, float] | None = None
    count: int = 0
    over: Literal["frames", "clips"] | None = None


def of_clip(metric: Metric, score: ClipScore) -> Statistics:
    """Return the statistics of one clip over its frames."""
    values = _known(score.values) if metric.total == "frames" else []
    if not values:
        return Statistics(score.value, count=int(score.value is not None))
    return _statistics(float(np.mean(values)), values, "frames")


def of_clips(metric: Metric, scores: Sequence[ClipScore]) -> Statistics:
    """Return the statistics of several clips together.

    Metrics of frames: the mean over all frames; its interval takes the clips as drawn by chance (ratio estimator, Cochran 1977, 6.3).
    Metrics of clips: mean and interval over the clips' values. Metrics of sets: the value of all clips together.
    """
    if metric.total == "set":
        pools = [score.pool for score in scores if score.pool is not None]
        return Statistics(reduce(add, pools).value() if pools else None, count=len(pools))
    if metric.total == "clips":
        values = _known([score.value for score in scores])
        return _statistics(float(np.mean(values)), values, "clips") if values else Statistics(None)
    series = [values for values in (_known(score.values) for score in scores) if values]
    if len(series) < FEWEST:
        return _statistics(float(np.mean(series[0])), series[0], "frames") if series else Statistics(None)
    counts, frames = np.array([len(values) for values in series]), np.concatenate(series)
    middle = float(frames.mean())
    residuals = np.array([sum(values) for values in series]) - middle * counts
    error = np.sqrt(len(series) / (len(series) - 1) * np.square(residuals).sum()) / counts.sum()
    interval = _interval(middle, float(error), len(series))
    return Statistics(middle, float(frames.std(ddof=1)), interval, len(frames), "clips")


def _statistics(middle: float, values: Sequence[float], over: Literal["frames", "clips"]) -> Statistics:
    if len(values) < FEWEST:
        return Statistics(middle, count=len(values), over=over)
    std = float(np.std(values, ddof=1))
    return Statistics(middle, std, _interval(middle, std / len(values) ** 0.5, len(values)), len(values), over)


def _interval(middle: float, error: float, count: int) -> tuple[float, float]:
    """Return the confidence interval around a mean with the standard error `error` from `count` independent values."""
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    return middle - half, middle + half


def _known(values: Sequence[Value]) -> list[float]:
    return [value for value in values if value is not None]
