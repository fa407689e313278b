"""Smoothing: closed forms, and the stream against smoothing at leisure."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.faces.smooth import (
    SPEED_GAIN,
    Observation,
    OneEuro,
    SmoothFrame,
    TrackSmoother,
    bridge,
    calming,
    half_window,
    line_weights,
    region_of,
    smooth,
)
from keyframes_gan.types import Cutoffs

BOX = np.array([0, 0, 10, 10], np.float32)


def seen(track: int, index: int, value: float, *, confirmed: bool = True) -> Observation:
    return Observation(track, index, BOX, np.full((68, 2), value, np.float32), 1.0, confirmed)


def run(smoother: TrackSmoother, count: int, observations: list[Observation], cuts: tuple[int, ...] = ()) -> list[SmoothFrame]:
    done: list[SmoothFrame] = []
    for index in range(count):
        done += smoother.push(index, [one for one in observations if one.index == index], cut=index in cuts)
    return done + smoother.flush()


def values(frames: list[SmoothFrame], track: int) -> dict[int, float]:
    return {frame.index: float(face.points[0, 0]) for frame in frames for face in frame.faces if face.track_id == track}


def walk(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 68, 2)).cumsum(axis=0).astype(np.float32)


def test_inside_a_run_the_weights_are_gaussian() -> None:
    offsets = np.arange(-5, 6)
    gauss = np.exp(-0.5 * (offsets / 1.5) ** 2)
    np.testing.assert_allclose(line_weights(offsets, 1.5), gauss / gauss.sum(), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5, 3.0])
def test_steady_motion_is_left_alone_to_the_very_ends(sigma: float) -> None:
    line = (np.arange(30)[:, None, None] * np.array([2.0, -0.5]) + 7).repeat(68, axis=1).astype(np.float32)
    np.testing.assert_allclose(smooth(line, sigma), line, atol=1e-4)


def test_noise_shrinks_as_the_gaussian_says() -> None:
    noise = np.random.default_rng(1).normal(size=(400, 68, 2)).astype(np.float32)
    weights = line_weights(np.arange(-6, 7), 2.0)
    expected = float(np.sqrt((weights**2).sum()))
    assert smooth(noise, 2.0)[6:-6].std() == pytest.approx(expected, rel=0.02)


def test_bridge_draws_straight_lines() -> None:
    points = np.zeros((5, 68, 2), np.float32)
    points[0], points[4] = 1, 9
    np.testing.assert_allclose(bridge(points, np.array([1, 0, 0, 0, 1], np.bool_))[:, 0, 0], [1, 3, 5, 7, 9])
    alone = points[:1]
    np.testing.assert_array_equal(bridge(alone, np.array([True])), alone)
    with pytest.raises(ValueError, match="first and the last"):
        bridge(points, np.array([0, 1, 1, 1, 1], np.bool_))


@pytest.mark.parametrize("sigma", [0.0, 1.0, 1.5])
def test_the_stream_gives_what_the_whole_clip_gives(sigma: float) -> None:
    points = walk(80)
    missing = {10, 11, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 60}
    known = np.array([index not in missing for index in range(80)])
    observations = [Observation(3, index, BOX, points[index], 1.0, True) for index in np.flatnonzero(known)]
    frames = run(TrackSmoother(sigma=sigma, look_ahead=15, max_gap=10), 80, observations)
    assert [frame.index for frame in frames] == list(range(80))
    got = np.stack([frame.faces[0].points for frame in frames])
    np.testing.assert_allclose(got, smooth(bridge(points, known), sigma), atol=1e-4)
    assert [frame.faces[0].seen for frame in frames] == known.tolist()


def test_the_delay_is_the_look_ahead_and_no_more_is_kept() -> None:
    smoother = TrackSmoother(look_ahead=15)
    for index in range(300):
        out = smoother.push(index, [seen(index // 40, index, index)])
        assert [frame.index for frame in out] == ([index - 15] if index >= 15 else [])
    assert len(smoother._lives) <= 2
    assert sum(len(life.seen) for life in smoother._lives.values()) < 40


def test_a_long_gap_is_not_bridged() -> None:
    observations = [seen(0, index, index) for index in (*range(10), *range(21, 40))]
    frames = run(TrackSmoother(max_gap=10), 40, observations)
    assert sorted(values(frames, 0)) == [*range(10), *range(21, 40)]


def test_tracks_do_not_blend() -> None:
    observations = [seen(0, index, 0) for index in range(20)] + [seen(1, index, 100) for index in range(20, 40)]
    frames = run(TrackSmoother(sigma=2, look_ahead=20), 40, observations, cuts=(20,))
    assert set(values(frames, 0).values()) == {0.0}
    np.testing.assert_allclose(list(values(frames, 1).values()), 100)
    assert [frame.index for frame in frames if frame.cut] == [20]


def test_a_false_alarm_is_never_shown_but_an_untested_face_is() -> None:
    alarm = [seen(0, index, 0, confirmed=False) for index in range(3, 8)]
    assert values(run(TrackSmoother(), 40, alarm), 0) == {}
    at_the_end = [seen(0, index, 0, confirmed=False) for index in range(36, 40)]
    assert sorted(values(run(TrackSmoother(), 40, at_the_end), 0)) == [36, 37, 38, 39]
    before_a_cut = [seen(0, index, 0, confirmed=False) for index in range(3, 8)]
    assert sorted(values(run(TrackSmoother(), 40, before_a_cut, cuts=(8,)), 0)) == [3, 4, 5, 6, 7]
    single = [seen(0, 0, 0, confirmed=False)]
    assert values(run(TrackSmoother(), 1, single), 0) == {0: 0.0}


@pytest.mark.parametrize("lost", [(5,), (5, 9, 10, 30), tuple(range(6, 40, 5))])
def test_what_was_doubted_once_does_not_flicker(lost: tuple[int, ...]) -> None:
    alarm = [seen(0, index, 0, confirmed=False) for index in range(40) if index not in lost]
    assert values(run(TrackSmoother(), 40, alarm), 0) == {}
    face = [*alarm, seen(0, 18, 0)]
    assert sorted(values(run(TrackSmoother(), 40, face), 0))[0] <= 18 - 15 + 1


def test_observations_may_come_late() -> None:
    smoother = TrackSmoother()
    done = smoother.push(0, [])
    done += smoother.push(1, [seen(0, 0, 5), seen(0, 1, 6)])
    assert values(done + smoother.flush(), 0) == pytest.approx({0: 5, 1: 6})


def test_a_look_ahead_that_cannot_do_is_refused() -> None:
    assert half_window(1.5) == 5
    with pytest.raises(ValueError, match="look_ahead >= 5 \\+ 10"):
        TrackSmoother(sigma=1.5, look_ahead=14, max_gap=10)
    with pytest.raises(ValueError, match="look_ahead"):
        TrackSmoother(sigma=-1)


def test_an_empty_stream() -> None:
    assert TrackSmoother().flush() == []


def standing(height: float) -> npt.NDArray[np.float64]:
    """A face whose landmarks lie on a line of that height."""
    return np.stack([np.zeros(68), np.linspace(0, height, 68)], axis=1)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 5.0])
def test_one_euro_calms_a_resting_face_as_the_gaussian_does(sigma: float) -> None:
    """So large a face that its noise is no movement."""
    noise = np.random.default_rng(2).normal(size=(1500, 68, 2)) * 100
    smoother = OneEuro(calming(sigma))
    got = np.stack([smoother(standing(1e9) + each, index, unit=1e9) for index, each in enumerate(noise)])[:, :, 0]
    assert got[100:].std() == pytest.approx(100 * np.sqrt(1 / (2 * np.sqrt(np.pi) * sigma)), rel=0.03)


@pytest.mark.parametrize("speed", [0.5, 2.0, 8.0])
def test_one_euro_lags_less_behind_a_faster_face(speed: float) -> None:
    """Behind a steady movement an exponential low-pass lags by v (1 - a) / a; here a / (1 - a) = 2 pi (rest + gain v / height)."""
    kept = 1 / (2 * np.sqrt(np.pi) * 1.5)
    smoother = OneEuro(calming(1.5))
    for index in range(120):
        got = smoother(np.add(standing(200), [speed * index, 0]), index, unit=200)
    lag = speed / (2 * kept / (1 - kept) + 2 * np.pi * SPEED_GAIN * speed / 200)
    np.testing.assert_allclose(got[:, 0], speed * 119 - lag, atol=1e-3)
    assert lag < 1.1


def test_one_euro_begins_anew_after_a_long_gap_and_a_cut_not_after_a_short_one() -> None:
    """The face lies 60 pixels further after every break."""
    places = [*range(10), *range(14, 20), *range(35, 45)]
    where = {index: 0.0 if index < 10 else 60.0 if index < 20 else 120.0 for index in places}

    def observed(index: int, track: int, x: float) -> Observation:
        return Observation(track, index, BOX, np.add(standing(1e6), [x, 0]).astype(np.float32), 1.0, True)

    observations = [observed(index, 0, x) for index, x in where.items()] + [observed(index, 1, 9.0) for index in range(45, 50)]
    got = values(run(TrackSmoother(kind="one-euro", sigma=3, look_ahead=20), 50, observations, cuts=(45,)), 0)
    assert got[9] == pytest.approx(0)
    assert got[10] < got[14] < 60
    assert got[35] == pytest.approx(120)
    again = run(TrackSmoother(kind="one-euro", sigma=3, look_ahead=20), 50, observations, cuts=(45,))
    assert set(values(again, 1).values()) == {9.0}


def test_one_euro_without_smoothing_gives_what_it_got() -> None:
    points = walk(20).astype(np.float64)
    smoother = OneEuro(calming(0.0))
    np.testing.assert_allclose(np.stack([smoother(each, index) for index, each in enumerate(points)]), points, rtol=1e-6)


CENTRE, SIZE = Cutoffs(1.2, 0.007, 1.0), Cutoffs(1.0, 0.010, 1.0)
RATE = 25


@pytest.mark.parametrize("cutoffs", [CENTRE, SIZE])
def test_one_euro_has_its_cutoffs_in_hertz(cutoffs: Cutoffs) -> None:
    """Without beta a step is approached by (1 - a)^n; in steady movement the lag is v / (2 pi (min_cutoff + beta v))."""
    still = OneEuro(Cutoffs(cutoffs.min_cutoff, 0.0, cutoffs.d_cutoff))
    got = [float(still(np.array([float(index > 0)]), index / RATE)[0]) for index in range(20)]
    turn = 2 * np.pi * cutoffs.min_cutoff / RATE
    np.testing.assert_allclose(got, 1 - (1 / (1 + turn)) ** np.arange(20), atol=1e-12)
    moving = OneEuro(cutoffs)
    for index in range(400):
        value = moving(np.array([0.0, 90.0, -300.0]) * index / RATE, index / RATE)
    lag = [90 / (2 * np.pi * (cutoffs.min_cutoff + cutoffs.beta * 90)), -300 / (2 * np.pi * (cutoffs.min_cutoff + cutoffs.beta * 300))]
    np.testing.assert_allclose(value, [0, *np.array([90, -300]) * 399 / RATE - lag], atol=1e-6)


def regions(measured: npt.NDArray[np.float64], smoother: TrackSmoother) -> npt.NDArray[np.float64]:
    """The steadied regions (N, 3) of a face that has these, frame by frame."""
    shape = np.random.default_rng(3).normal(size=(68, 2))
    shape -= shape.mean(axis=0)
    shape /= region_of(shape)[2]
    frames = []
    for index, (x, y, width) in enumerate(measured):
        one = Observation(0, index, BOX, (shape * width + [x, y]).astype(np.float32), 1.0, True)
        frames += smoother.push(index, [one], time=Fraction(index, RATE))
    points = np.stack([frame.faces[0].points for frame in frames + smoother.flush()])
    np.testing.assert_allclose(
        (points - points.mean(axis=1, keepdims=True)) / region_of(points)[:, None, 2:], shape[None].repeat(len(points), 0), atol=1e-4
    )
    return region_of(points)


def test_a_region_is_steadied_by_its_own_filters_both_ways() -> None:
    """The mean of one pass from the first frame and one from the end of the look-ahead, 17 frames on."""
    measured = np.array([300.0, 200.0, 90.0]) + np.random.default_rng(4).normal(size=(60, 3))
    got = regions(measured, TrackSmoother(look_ahead=17, max_gap=12, region=(CENTRE, SIZE)))
    forward, expected = [OneEuro(CENTRE), OneEuro(CENTRE), OneEuro(SIZE)], []
    for now in range(60):
        backward = [OneEuro(CENTRE), OneEuro(CENTRE), OneEuro(SIZE)]
        ahead = [[one(measured[at, [k]], at / RATE)[0] for k, one in enumerate(backward)] for at in range(min(now + 17, 59), now - 1, -1)]
        there = [one(measured[now, [k]], now / RATE)[0] for k, one in enumerate(forward)]
        expected.append(np.add(there, ahead[-1]) / 2)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert got.std(axis=0).max() < 0.45


def test_a_region_lags_behind_no_steady_movement() -> None:
    steady = np.array([50.0, 20.0, 60.0]) + np.arange(80)[:, None] * [4.0, -1.0, 0.5]
    got = regions(steady, TrackSmoother(look_ahead=17, max_gap=12, region=(CENTRE, SIZE)))
    np.testing.assert_allclose(got[30:50], steady[30:50], atol=0.1)


def test_steady_regions_need_times() -> None:
    with pytest.raises(ValueError, match="expected the time of every frame"):
        TrackSmoother(region=(CENTRE, SIZE)).push(0, [])
