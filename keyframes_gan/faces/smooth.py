"""Smooth landmarks in a finite window: no lag, no shrinking at the ends, never across a cut or an unbridged gap.

Each point is replaced by the value at its own time of a straight line fitted to its neighbours in time with Gaussian weights (local
linear regression, Cleveland 1979). Well inside a track that is plain Gaussian smoothing; at its ends a moving face does not lag.
The streaming form holds a fixed number of frames back and gives exactly what smoothing the whole clip would give.

The 1-euro filter can be chosen instead: it knows nothing of the future, smooths a resting face and gives way to a moving one.

Apart from how its landmarks are smoothed, a face's region (their centre, and the width of its box) can be steadied by 1-euro filters of
their own. These run forward and, from the end of the look-ahead, backward, and the mean of the two is taken, which in steady movement
lags behind nothing; the face follows its region as a whole. Nothing of that is fed back to what follows the faces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keyframes_gan.faces.align import BOX_WIDTH
from keyframes_gan.types import Cutoffs, Points, Smoother

if TYPE_CHECKING:
    from keyframes_gan.types import BoolArray

    Floats = npt.NDArray[np.float64]

REACH = 3.0
"""Half the window, in standard deviations."""
SPEED_GAIN = 30.0
"""Landmarks in a 1-euro filter: by how much the cut-off, in cycles a frame, grows with a point's speed, in face heights a frame."""
SPEED_CUTOFF = 0.25 / (2 * np.pi)
"""Landmarks in a 1-euro filter: cut-off of their speed in cycles a frame, 1 Hz at 25 frames a second."""


@dataclass(frozen=True)
class Observation:
    """One tracked face in one frame, as measured: `index` of the frame, `points` float32 (68, 2) in frame pixels, detector `score`.

    `box` float32 (4,) as dlib's detector would draw it; `confirmed` once the face has been found often or surely enough to be believed.
    """

    track_id: int
    index: int
    box: npt.NDArray[np.float32]
    points: Points
    score: float
    confirmed: bool


@dataclass(frozen=True)
class SmoothFace:
    """One face in one frame, smoothed; `seen` is False where its points were bridged over a gap (then `score` is 0)."""

    track_id: int
    points: Points
    seen: bool
    score: float


@dataclass(frozen=True)
class SmoothFrame:
    """All faces of the frame `index`, by track id; `cut` when the frame begins a new shot."""

    index: int
    faces: tuple[SmoothFace, ...]
    cut: bool


def half_window(sigma: float) -> int:
    """Return how many frames on each side smoothing with `sigma` frames looks at."""
    return int(np.ceil(REACH * sigma))


def line_weights(offsets: npt.NDArray[np.int64], sigma: float) -> npt.NDArray[np.float64]:
    """Return the weights (N,), summing to 1, with which frames at `offsets` from now make the smoothed value of now."""
    if sigma <= 0 or len(offsets) == 1:
        alone: npt.NDArray[np.float64] = (offsets == 0).astype(np.float64)
        return alone
    t = offsets.astype(np.float64)
    gauss = np.exp(-0.5 * (t / sigma) ** 2)
    s0, s1, s2 = gauss.sum(), (gauss * t).sum(), (gauss * t * t).sum()
    weights: npt.NDArray[np.float64] = gauss * (s2 - s1 * t) / (s0 * s2 - s1 * s1)
    return weights


def smooth(points: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Return one uninterrupted run of landmarks (N, K, 2), smoothed with `sigma` frames (0: unchanged)."""
    done = np.empty_like(points)
    reach = half_window(sigma)
    for now in range(len(points)):
        first, last = max(now - reach, 0), min(now + reach + 1, len(points))
        weights = line_weights(np.arange(first - now, last - now), sigma)
        done[now] = np.tensordot(weights, points[first:last].astype(np.float64), axes=1)
    return done


def bridge(points: npt.NDArray[np.float32], seen: BoolArray) -> npt.NDArray[np.float32]:
    """Return `points` (N, K, 2) with the frames that were not seen filled by straight lines between their seen neighbours.

    Raises:
        ValueError: the first or the last frame was not seen, so that there is nothing to bridge from.
    """
    if not len(seen) or not seen[0] or not seen[-1]:
        msg = "bridge: expected the first and the last frame to be seen"
        raise ValueError(msg)
    known = np.flatnonzero(seen)
    after = np.clip(np.searchsorted(known, np.arange(len(seen))), 1, max(len(known) - 1, 1)) if len(known) > 1 else None
    if after is None:
        same: npt.NDArray[np.float32] = points.copy()
        return same
    left, right = known[after - 1], known[after]
    part = ((np.arange(len(seen)) - left) / (right - left))[:, None, None]
    filled: npt.NDArray[np.float32] = ((1 - part) * points[left] + part * points[right]).astype(np.float32)
    filled[seen] = points[seen]
    return filled


class OneEuro:
    """The 1-euro filter (Casiez, Roussel and Vogel, CHI 2012) of numbers that change in time: give it one array after the other.

    Each number is low-passed exponentially, its cut-off growing with its own low-passed speed.

    Args:
        cutoffs: of all the numbers, or one for each of them.
    """

    def __init__(self, *cutoffs: Cutoffs) -> None:
        rows = np.array([(one.min_cutoff, one.beta, one.d_cutoff) for one in cutoffs])
        self._rest, self._beta, self._speed = rows[0] if len(rows) == 1 else rows.T
        self._last: tuple[float, Floats, Floats, Floats] | None = None

    def __call__(self, given: Floats, time: float, *, unit: float = 1.0) -> Floats:
        """Return the next array, smoothed.

        Args:
            given: as many numbers as before.
            time: of these, another than the last, in the unit of the cut-offs: seconds when they are in Hz.
            unit: speeds count in so many units of the numbers.
        """
        if self._last is None:
            self._last = time, given, given, np.zeros_like(given)
            return given
        last, before, value, speed = self._last
        step = abs(time - last)
        speed = speed + _newest_weight(self._speed * step) * ((given - before) / step - speed)
        value = value + _newest_weight((self._rest + self._beta * np.abs(speed) / unit) * step) * (given - value)
        self._last = time, given, value, speed
        return value


def _newest_weight(cycles: Floats) -> Floats:
    """Return the weight of the newest sample in a low-pass whose cut-off is so many cycles a sample."""
    weight: Floats = 1 - 1 / (1 + 2 * np.pi * cycles)
    return weight


def calming(sigma: float) -> Cutoffs:
    """Return the 1-euro filter of landmarks, in cycles a frame and face heights.

    Args:
        sigma: noise of a face at rest is reduced as much as by a Gaussian window of so many frames, to 1 / (2 sqrt(pi) sigma) of its
            variance; less than 0.3 leaves points as they are.
    """
    kept = min(1 / (2 * np.sqrt(np.pi) * sigma), 1.0) if sigma > 0 else 1.0
    rest = 2 * kept / (1 - kept) if kept < 1 else np.inf
    return Cutoffs(rest / (2 * np.pi), SPEED_GAIN, SPEED_CUTOFF)


def region_of(points: npt.NDArray[np.floating]) -> Floats:
    """Return the regions of landmarks (..., K, 2): (..., 3), centre x and y, and the width of the box (`align.box_of`)."""
    centre = points.mean(axis=-2, dtype=np.float64)
    spread = np.sqrt(((points - centre[..., None, :]) ** 2).sum(axis=-1).mean(axis=-1))
    return np.concatenate([centre, BOX_WIDTH * spread[..., None]], axis=-1)


def moved_into(points: Points, region: Floats) -> Points:
    """Return landmarks (K, 2) shifted and scaled so that `region` is theirs."""
    x, y, width = region_of(points)
    scale = region[2] / width if width > 0 else 1.0
    moved: Points = ((points - [x, y]) * scale + region[:2]).astype(np.float32)
    return moved


@dataclass
class _Life:
    """What is remembered of one track: its recent observations by frame, whether it is a face, its filters.

    `confirmed`: it was found often or surely enough; `doubted`: it was lost within a shot, which false alarms soon are. `filtered`: the
    frame that the filters were given last.
    """

    seen: dict[int, Observation] = field(default_factory=dict)
    confirmed: bool = False
    doubted: bool = False
    filter: OneEuro | None = None
    region: OneEuro | None = None
    filtered: int = -1


class TrackSmoother:
    """Streaming smoother: takes what the tracker saw, frame by frame, and gives each frame back `look_ahead` frames later.

    Args:
        sigma: of the Gaussian window, in frames; 0 switches smoothing off.
        look_ahead: frames that are held back. Must cover half the window and the longest gap.
        max_gap: the longest run of frames without the face that is bridged.
        kind: "gaussian", or "one-euro" (see `OneEuro` and `calming`).
        region: filters of a region's centre and of its width; None leaves both as the landmarks have them.

    Raises:
        ValueError: `look_ahead` is too short for the other two.
    """

    def __init__(
        self,
        *,
        sigma: float = 1.5,
        look_ahead: int = 15,
        max_gap: int = 10,
        kind: Smoother = "gaussian",
        region: tuple[Cutoffs, Cutoffs] | None = None,
    ) -> None:
        if sigma < 0 or max_gap < 0 or half_window(sigma) + max_gap > look_ahead:
            msg = f"TrackSmoother: expected look_ahead >= {half_window(sigma)} + {max_gap} (half the window + max_gap), got {look_ahead}"
            raise ValueError(msg)
        self._sigma, self._look_ahead, self._max_gap = sigma, look_ahead, max_gap
        self._kind, self._region = kind, None if region is None else (region[0], *region)
        self._lives: dict[int, _Life] = {}
        self._waiting: list[int] = []
        self._times: dict[int, Fraction] = {}
        self._cuts: set[int] = set()

    def push(
        self, index: int, observations: Iterable[Observation], *, cut: bool = False, time: Fraction | None = None
    ) -> list[SmoothFrame]:
        """Take the frame `index` (one more than the last) and what was seen; return the frames that became final, oldest first.

        Observations may belong to earlier frames that are still held back. The frame's `time` in seconds, later than the last, is needed
        for steady regions.
        """
        if time is not None:
            self._times[index] = time
        elif self._region is not None:
            msg = "TrackSmoother: expected the time of every frame for steady regions, got none"
            raise ValueError(msg)
        self._waiting.append(index)
        if cut:
            self._cuts.add(index)
        for one in observations:
            life = self._lives.setdefault(one.track_id, _Life())
            life.seen[one.index] = one
            life.confirmed |= one.confirmed
        for life in self._lives.values():
            life.doubted |= not cut and max(life.seen) == index - 1
        return self._emit(self._look_ahead)

    def flush(self) -> list[SmoothFrame]:
        """Return the frames that are still held back: the stream has ended."""
        return self._emit(0)

    def _emit(self, keep: int) -> list[SmoothFrame]:
        done = []
        while len(self._waiting) > keep:
            done.append(self._frame(self._waiting.pop(0)))
        return done

    def _frame(self, index: int) -> SmoothFrame:
        believed = ((key, life) for key, life in sorted(self._lives.items()) if life.confirmed or not life.doubted)
        faces = (self._face(key, life, index) for key, life in believed)
        frame = SmoothFrame(index, tuple(face for face in faces if face is not None), index in self._cuts)
        self._forget(index - half_window(self._sigma) - self._max_gap - 1)
        return frame

    def _forget(self, before: int) -> None:
        for key, life in list(self._lives.items()):
            life.seen = {index: one for index, one in life.seen.items() if index >= before}
            if not life.seen:
                del self._lives[key]
        self._cuts = {cut for cut in self._cuts if cut >= before}
        self._times = {index: time for index, time in self._times.items() if index >= before}

    def _face(self, key: int, life: _Life, index: int) -> SmoothFace | None:
        indices = self._run(sorted(life.seen), index)
        if indices is None:
            return None
        frames = np.arange(indices[0], indices[-1] + 1)
        seen = np.isin(frames, indices)
        points = np.zeros((len(frames), *life.seen[indices[0]].points.shape), np.float32)
        points[seen] = np.stack([life.seen[known].points for known in indices])
        points = bridge(points, seen)
        if life.filtered != index - 1:
            life.filter = life.region = None
        value = self._value(life, index, frames, points)
        if self._region is not None:
            value = moved_into(value, self._steady(life, index, region_of(points[index - frames[0] :]), self._region))
        life.filtered = index
        here = life.seen.get(index)
        return SmoothFace(key, value, here is not None, here.score if here else 0.0)

    def _value(self, life: _Life, index: int, frames: npt.NDArray[np.int64], points: npt.NDArray[np.float32]) -> Points:
        """Return the smoothed landmarks of the frame `index`, given those of an uninterrupted run of `frames` around it."""
        if self._kind == "gaussian":
            near = np.abs(frames - index) <= half_window(self._sigma)
            weights = line_weights(frames[near] - index, self._sigma)
            value: Points = np.tensordot(weights, points[near].astype(np.float64), axes=1).astype(np.float32)
            return value
        given = points[index - frames[0]].astype(np.float64)
        life.filter = life.filter or OneEuro(calming(self._sigma))
        return life.filter(given, index, unit=max(float(np.ptp(given[:, 1])), 1.0)).astype(np.float32)

    def _steady(self, life: _Life, index: int, regions: Floats, cutoffs: tuple[Cutoffs, ...]) -> Floats:
        """Return the region of the frame `index`, steadied, given those (N, 3) from there on."""
        times = [float(self._times[at]) for at in range(index, index + len(regions))]
        life.region = life.region or OneEuro(*cutoffs)
        forward = life.region(regions[0], times[0])
        backward = OneEuro(*cutoffs)
        for region, time in zip(regions[:0:-1], times[:0:-1], strict=True):
            backward(region, time)
        return (forward + backward(regions[0], times[0])) / 2

    def _run(self, known: list[int], index: int) -> list[int] | None:
        """Return the observed frames around `index` that no gap longer than `max_gap` parts from it; None outside of all of them."""
        groups = np.split(np.array(known), np.flatnonzero(np.diff(known) > self._max_gap + 1) + 1)
        for group in groups:
            if group[0] <= index <= group[-1]:
                return [int(one) for one in group]
        return None
