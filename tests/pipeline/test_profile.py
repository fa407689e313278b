"""Where the time went: known durations through a clock that is told the time give the known figures. Quantiles are NumPy's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from keyframes_gan.pipeline.clock import ACCURACY, Durations, Stopwatch
from keyframes_gan.pipeline.profile import Profile


class Clock:
    """Tells the time it was set to."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def near(seconds: float) -> object:
    return pytest.approx(seconds, rel=ACCURACY * 1.001)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.95, 1.0])
def test_quantiles_are_those_of_all_values_whatever_their_scale(part: float) -> None:
    values = np.random.default_rng(0).lognormal(-5, 3, 5001)
    durations = Durations()
    for value in values:
        durations.add(value)
    assert durations.quantile(part) == near(np.quantile(values, part, method="inverted_cdf"))
    assert (durations.count, durations.seconds) == (5001, pytest.approx(values.sum()))


def test_shares_of_a_batch_count_one_by_one() -> None:
    durations = Durations("face")
    durations.add(0.9, 9)
    durations.add(5.0, 1)
    durations.add(7.0, 0)
    assert (durations.count, durations.seconds) == (10, pytest.approx(12.9))
    assert durations.quantile(0.5) == durations.quantile(0.9) == near(0.1)
    assert durations.quantile(0.95) == near(5.0)


def test_memory_does_not_grow_with_the_video() -> None:
    durations = Durations()
    for value in (*np.geomspace(1e-3, 1.0, 20_000), 0.0, -1e-9, 1e300):
        durations.add(float(value))
    assert len(durations._classes) <= np.log(1e3) / np.log((1 + ACCURACY) / (1 - ACCURACY)) + 4
    assert Durations().quantile(0.5) == 0.0


def test_stages_inside_others_count_once() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for milliseconds in range(1, 101):
        with watch("track"):
            clock.time += 0.002
            with watch("detect", unit="search"):
                clock.time += milliseconds / 1000
            clock.time += 0.003
    with watch("paste", 4, "face"), pytest.raises(KeyError), watch("background"):
        clock.time += 1.0
        raise KeyError
    assert list(watch.stages) == ["detect", "track", "background", "paste"]
    assert watch.seconds == pytest.approx({"detect": 5.05, "track": 0.5, "background": 1.0, "paste": 0.0})
    assert watch.stages["detect"].quantile(0.5) == near(0.050)
    assert watch.stages["detect"].quantile(0.95) == near(0.095)
    assert watch.stages["track"].quantile(0.95) == near(0.005)
    assert (watch.stages["detect"].unit, watch.stages["paste"].count) == ("search", 4)


def test_the_real_time_factor_is_seconds_of_video_per_second_of_work() -> None:
    watch = Stopwatch()
    for stage, seconds in (("load", 10.0), ("wait", 3.0), ("restore", 3.0), ("other", 1.0)):
        watch.add(stage, seconds, unit="" if stage in ("load", "other") else "frame")
    watch.restored("T", 2.0, 8)
    told = Profile.of(watch, 50, Fraction(49, 25))
    assert told.as_json() == {
        "video_seconds": 2.0,
        "work_seconds": 4.0,
        "real_time_factor": 0.5,
        "frames_per_second": 12.5,
        "stages": {
            "load": {"unit": "", "count": 1, "median_ms": None, "p95_ms": None, "seconds": 10.0, "share": round(10 / 17, 4)},
            "wait": {"unit": "frame", "count": 1, "median_ms": near(3e3), "p95_ms": near(3e3), "seconds": 3.0, "share": round(3 / 17, 4)},
            "restore": {
                "unit": "frame",
                "count": 1,
                "median_ms": near(3e3),
                "p95_ms": near(3e3),
                "seconds": 3.0,
                "share": round(3 / 17, 4),
            },
            "other": {"unit": "", "count": 1, "median_ms": None, "p95_ms": None, "seconds": 1.0, "share": round(1 / 17, 4)},
        },
        "experts": {
            "T": {"unit": "face", "count": 8, "median_ms": near(250), "p95_ms": near(250), "seconds": 2.0, "share": round(2 / 17, 4)}
        },
    }
    lines = str(told).splitlines()
    assert lines[0] == "profile: 50 frames in 4.00 s of work, 12.50 frames/s; real-time factor 0.500 (2.00 s of video)"
    assert [line.split()[0] for line in lines[1:]] == ["stage", "load", "wait", "restore", "other", "expert", "T"]
    assert len(set(map(len, lines[1:]))) == 1
    assert Profile.of(watch, 1, Fraction(0)).real_time_factor is None
    assert "real-time" not in str(Profile.of(watch, 1, Fraction(0)))
    assert Profile().as_json()["frames_per_second"] is None
