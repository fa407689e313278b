"""Follow faces through a video, frame by frame.

Every few frames the whole picture is searched; in between, the landmarks of the last frame, moved on by the face's own motion, start
the landmarks of this one. What has become implausible (a jump, another size, another appearance) is searched for near its place, and
given up after a while. Detections and tracks are paired by overlap and appearance (Hungarian method). No track crosses a shot cut.

    FaceTracker   one frame in, what was seen out, at once
    FaceStream    tracker and smoother together: one frame in, smoothed frames out, a fixed number of frames later
    track_video   a whole clip: the list of its FaceTracks; only points are kept
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from keyframes_gan.faces.detectors import Detector, find
from keyframes_gan.faces.landmarks import Landmarker, box_of, roll_of
from keyframes_gan.faces.looks import appearance, moved_on, overlap, plausible, template
from keyframes_gan.faces.shots import CutFinder, correlation
from keyframes_gan.faces.smooth import Observation, SmoothFace, SmoothFrame, TrackSmoother
from keyframes_gan.types import Detection, FaceTrack, Points

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keyframes_gan.types import Frame, Image

LOOK_LIKE_BEFORE = 0.45
"""Correlation of the aligned face with itself one frame ago, below which it must be found anew."""
SAME_OVERLAP = 0.2
SAME_COST = 1.2
SAME_FACE = 0.5
"""Overlap from which two tracks are one face."""
SAME_PLACE = 0.62
"""Overlap of the detected box with that of the track's own landmarks, below which these are placed anew (mostly 0.75 to 0.95)."""
SURE_SCORE = 1.0
THOROUGH_EVERY = 10
"""The first search of a shot, and every tenth after it, is a thorough one."""
APPEARANCE_WEIGHT = 0.5
APPEARANCE_RATE = 0.2
MOTION_RATE = 0.6
LATE_FRAMES = 15
"""How many frames a newly found face is followed back at most, whatever the distance of the searches: these pictures are kept."""


@dataclass
class _Track:
    """A live track. `missed`: frames since it was last seen; `unfound`: detections in a row that did not find it."""

    id: int
    points: Points
    look: npt.NDArray[np.float32]
    template: npt.NDArray[np.float32]
    score: float
    memory: npt.NDArray[np.float32] = field(init=False)
    motion: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    hits: int = 1
    missed: int = 0
    unfound: int = 0

    def __post_init__(self) -> None:
        self.memory = self.look

    @property
    def confirmed(self) -> bool:
        return self.hits > 1 or self.score >= SURE_SCORE

    @property
    def box(self) -> npt.NDArray[np.float32]:
        """The box expected in the next frame."""
        return box_of(self.points) + np.tile(self.motion, 2)

    def move(self, points: Points, look: npt.NDArray[np.float32], rgb: Image) -> None:
        """Take the landmarks and the appearance of a new frame."""
        step = (points.mean(axis=0) - self.points.mean(axis=0)) / (self.missed + 1)
        self.motion = ((1 - MOTION_RATE) * self.motion + MOTION_RATE * step).astype(np.float32)
        self.memory = (1 - APPEARANCE_RATE) * self.memory + APPEARANCE_RATE * look
        self.points, self.look, self.missed = points, look, 0
        self.template = template(rgb, box_of(points))


class _Found:
    """A detection, and its landmarks and appearance, which are made only when somebody asks."""

    def __init__(self, detection: Detection, landmarker: Landmarker, rgb: Image) -> None:
        self.detection = detection
        self._landmarker, self._rgb = landmarker, rgb

    @cached_property
    def points(self) -> Points:
        return self._landmarker.points(self._rgb, self.detection.box, rounds=2)

    @cached_property
    def look(self) -> npt.NDArray[np.float32]:
        return appearance(self._rgb, self.points)


class FaceTracker:
    """Streaming tracker with bounded memory: give it consecutive frames.

    Args:
        detector: a detector's name or a detector.
        every: the whole picture is searched for faces every so many frames.
        max_faces: keep only so many faces, the largest; None keeps all.
        max_gap: frames without a trace after which a track is given up.
        landmarker: places the points.

    Attributes:
        cut: whether the frame given last begins a new shot.
    """

    def __init__(
        self,
        detector: str | Detector = "dlib-hog",
        *,
        every: int = 5,
        max_faces: int | None = None,
        max_gap: int = 10,
        landmarker: Landmarker | None = None,
    ) -> None:
        if every < 1 or max_gap < 0 or (max_faces is not None and max_faces < 1):
            msg = f"FaceTracker: expected every >= 1, max_gap >= 0, max_faces >= 1 or None, got {every}, {max_gap}, {max_faces}"
            raise ValueError(msg)
        self._detector = find(detector)() if isinstance(detector, str) else detector
        self._landmarker = landmarker or Landmarker()
        self._every, self._max_faces, self._max_gap = every, max_faces, max_gap
        self._shots = CutFinder()
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._since, self._searches = every, 0
        self._recent: deque[tuple[Frame, list[npt.NDArray[np.float32]]]] = deque(maxlen=min(max(every - 1, 1), LATE_FRAMES))
        self.cut = False

    def update(self, frame: Frame) -> list[Observation]:
        """Return the faces seen in `frame`, and those seen late in the few frames since the last search, all with their frame's index."""
        self.cut = self._shots.is_cut(frame.rgb)
        if self.cut:
            self._since, self._searches = self._every, 0
            self._tracks.clear()
            self._recent.clear()
        for track in self._tracks:
            self._follow(track, frame.rgb)
        late: list[Observation] = []
        self._since += 1
        if self._since >= self._every:
            self._since = 0
            late = self._search(frame)
        self._tracks = [track for track in self._tracks if track.missed <= self._max_gap]
        self._drop_doubles()
        self._recent.append((frame, [box_of(track.points) for track in self._tracks if not track.missed]))
        alive = {track.id for track in self._tracks}
        late = [one for one in late if one.track_id in alive]
        return late + [self._observed(track, frame.index) for track in self._tracks if not track.missed]

    def _observed(self, track: _Track, index: int) -> Observation:
        return Observation(track.id, index, box_of(track.points), track.points, track.score, track.confirmed)

    def _follow(self, track: _Track, rgb: Image) -> None:
        """Move `track` on to this frame, or count the frame as missed."""
        if not (self._continued(track, rgb) if not track.missed else self._found_near(track, rgb)):
            track.missed += 1
            track.motion *= 0.5

    def _continued(self, track: _Track, rgb: Image) -> bool:
        """Place the landmarks of the next (or previous) frame; take them when they are plausible, else search near by."""
        expected = moved_on(track.box, track.template, rgb)
        points = self._landmarker.points(rgb, expected, angle=roll_of(track.points))
        look = appearance(rgb, points)
        if not plausible(expected, points, rgb) or correlation(look, track.look) <= LOOK_LIKE_BEFORE:
            return self._found_near(track, rgb)
        track.move(points, look, rgb)
        return True

    def _found_near(self, track: _Track, rgb: Image) -> bool:
        """Search for a track near its place; take it up again when it is there and looks like itself."""
        taken = [box_of(other.points) for other in self._tracks if other.id != track.id and not other.missed]
        for found in self._detector.detect_near(rgb, track.box):
            points = self._landmarker.points(rgb, found.box, angle=roll_of(track.points), rounds=2)
            look = appearance(rgb, points)
            free = all(overlap(box_of(points), box) < SAME_FACE for box in taken)
            if free and correlation(look, track.memory) > LOOK_LIKE_BEFORE:
                track.move(points, look, rgb)
                if track.confirmed or found.score > 0:
                    self._hit(track, found.score)
                return True
        return False

    def _hit(self, track: _Track, score: float) -> None:
        track.score, track.unfound = score, 0
        track.hits += 1

    def _search(self, frame: Frame) -> list[Observation]:
        """Search the whole frame; return what newly found faces did in the frames since the last search."""
        thorough = self._searches % THOROUGH_EVERY == 0
        self._searches += 1
        found = [_Found(one, self._landmarker, frame.rgb) for one in self._detector.detect(frame.rgb, thorough=thorough)]
        pairs = self._paired(found)
        for track_number, number in pairs.items():
            track, one = self._tracks[track_number], found[number]
            if track.missed or overlap(box_of(track.points), one.detection.box) < SAME_PLACE:
                track.move(one.points, one.look, frame.rgb)
            self._hit(track, one.detection.score)
        for number, track in enumerate(self._tracks):
            if number not in pairs and not track.missed:
                self._unfound(track, frame.rgb)
        late: list[Observation] = []
        for number, one in enumerate(found):
            if number not in pairs.values():
                late += self._born(one, frame.rgb)
        return late

    def _paired(self, found: list[_Found]) -> dict[int, int]:
        """Return which track (by position) goes with which detection (by position)."""
        if not self._tracks or not found:
            return {}
        places = [track.box if track.missed else box_of(track.points) for track in self._tracks]
        common = np.array([[overlap(place, one.detection.box) for one in found] for place in places])
        possible = common >= SAME_OVERLAP
        cost = np.where(possible, 1 - common, 2 * SAME_COST)
        rivals = (possible.sum(axis=0)[None, :] > 1) | (possible.sum(axis=1)[:, None] > 1)
        for row, column in np.argwhere(possible & rivals):
            alike = correlation(found[column].look, self._tracks[row].memory)
            cost[row, column] += APPEARANCE_WEIGHT * (1 - max(alike, 0.0))
        rows, columns = linear_sum_assignment(cost)
        return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if cost[row, column] < SAME_COST}

    def _unfound(self, track: _Track, rgb: Image) -> None:
        """A search did not find a followed face. Look closer; believe the following alone for one more search only."""
        place = box_of(track.points)
        for near in self._detector.detect_near(rgb, place):
            if overlap(near.box, place) >= SAME_PLACE and (track.confirmed or near.score > 0):
                self._hit(track, near.score)
                return
        track.unfound += 1
        if track.unfound > 1 or not track.confirmed:
            track.missed = 1

    def _born(self, one: _Found, rgb: Image) -> list[Observation]:
        """Begin a track, and follow it back through the frames since the last search."""
        if any(overlap(box_of(one.points), track.box) >= SAME_FACE for track in self._tracks if not track.missed):
            return []
        picture = template(rgb, box_of(one.points))
        track, back = (_Track(self._next_id, one.points, one.look, picture, one.detection.score) for _ in range(2))
        self._next_id += 1
        self._tracks.append(track)
        late: list[Observation] = []
        for frame, boxes in reversed(self._recent):
            if not self._continued(back, frame.rgb) or any(overlap(box_of(back.points), box) >= SAME_OVERLAP for box in boxes):
                break
            late.append(self._observed(back, frame.index))
        return late[::-1]

    def _drop_doubles(self) -> None:
        """Of two tracks on one face keep the better proven; of too many faces keep those followed already, then the largest."""
        ranked = sorted(self._tracks, key=lambda track: (track.missed > 0, -track.hits, track.id))
        kept: list[_Track] = []
        for track in ranked:
            if track.missed or all(overlap(box_of(track.points), box_of(other.points)) < SAME_FACE for other in kept if not other.missed):
                kept.append(track)
        if self._max_faces is not None:
            kept = sorted(kept, key=lambda track: (track.hits == 1, -float(np.ptp(track.points[:, 1]))))[: self._max_faces]
        self._tracks = sorted(kept, key=lambda track: track.id)


class FaceStream:
    """Tracker and smoother as one: give frames in order, get smoothed frames `look_ahead` frames later, then `flush`.

    Args:
        tracker: a tracker; its `max_gap` must not exceed the smoother's.
        smoother: a smoother; made to fit when left out.
    """

    def __init__(self, tracker: FaceTracker | None = None, smoother: TrackSmoother | None = None) -> None:
        self.tracker = tracker or FaceTracker()
        self.smoother = smoother or TrackSmoother()

    def update(self, frame: Frame) -> list[SmoothFrame]:
        """Take the next frame; return the frames that became final (none at first, then one each time)."""
        seen = self.tracker.update(frame)
        return self.smoother.push(frame.index, seen, cut=self.tracker.cut, time=frame.time)

    def flush(self) -> list[SmoothFrame]:
        """Return the frames still held back, after the last one was given."""
        return self.smoother.flush()


def smoothed(frames: Iterable[Frame], stream: FaceStream) -> Iterator[SmoothFrame]:
    """Yield the smoothed faces of every frame, in order; holds no picture longer than the tracker does."""
    for frame in frames:
        yield from stream.update(frame)
    yield from stream.flush()


def track_video(frames: Iterable[Frame], stream: FaceStream | None = None) -> list[FaceTrack]:
    """Return the face tracks of a whole clip, in order of appearance, smoothed and with short gaps bridged. Keeps points only."""
    runs: list[list[tuple[int, SmoothFace]]] = []
    newest: dict[int, list[tuple[int, SmoothFace]]] = {}
    for picture in smoothed(frames, stream or FaceStream()):
        for face in picture.faces:
            run = newest.get(face.track_id)
            if run is None or run[-1][0] != picture.index - 1:
                run = newest[face.track_id] = []
                runs.append(run)
            run.append((picture.index, face))
    tracks = [
        FaceTrack(
            id=run[0][1].track_id,
            first=run[0][0],
            points=np.stack([face.points for _, face in run]),
            seen=np.array([face.seen for _, face in run], np.bool_),
            score=np.array([face.score for _, face in run], np.float32),
        )
        for run in runs
    ]
    return sorted(tracks, key=lambda track: (track.first, track.id))


def main_track(tracks: list[FaceTrack]) -> FaceTrack:
    """Return the track with the most frames times the largest face (mean height of its landmarks).

    Raises:
        ValueError: there is no track.
    """
    if not tracks:
        msg = "main_track: expected at least one track"
        raise ValueError(msg)
    return max(tracks, key=lambda track: len(track) * float(np.ptp(track.points[..., 1], axis=1).mean()))
