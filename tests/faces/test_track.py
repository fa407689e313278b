"""Tracking with a made-up detector (exact expectations), and on real clips whose facts are known."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.faces.looks import overlap
from keyframes_gan.faces.track import FaceStream, FaceTracker, main_track, smoothed, track_video
from keyframes_gan.types import Detection, FaceTrack, Frame, Image, Points

Place = tuple[float, float]
LOCAL = np.array([(0.9 * np.cos(a), 0.9 * np.sin(a)) for a in np.linspace(0, 6, 68)])
LOCAL[36:42], LOCAL[42:48], LOCAL[48:68] = (-0.5, -0.4), (0.5, -0.4), (0.0, 0.6)
SPREAD = float(np.sqrt(((LOCAL - LOCAL.mean(0)) ** 2).sum(1).mean()))
RADIUS = 30.0


def shape_at(x: float, y: float) -> Points:
    return (LOCAL * RADIUS + (x, y)).astype(np.float32)


def box_at(x: float, y: float) -> npt.NDArray[np.float32]:
    half = 0.5 * 2.86 * SPREAD * RADIUS
    x, y = (LOCAL.mean(0) * RADIUS + (x, y)) - (0, 0.12 * SPREAD * RADIUS)
    return np.array([x - half, y - half, x + half, y + half], np.float32)


class Scene:
    """Textured discs on a textured ground: draws frames, and plays detector and landmarker, knowing the truth."""

    def __init__(self, places: list[list[Place | None]], hidden: frozenset[int] = frozenset()) -> None:
        self.places, self.hidden = places, hidden
        self.searches: list[int] = []
        noise = np.random.default_rng(0).integers(0, 256, (2 + len(places), 240, 400, 3), np.uint8)
        self.textures = [cv2.GaussianBlur(one, (0, 0), 4) for one in noise]
        self.textures = [np.clip((one.astype(float) - 128) * 5 + 128, 0, 255).astype(np.uint8) for one in self.textures]
        self.now = 0

    def frames(self, count: int, ground: int = 0) -> Iterator[Frame]:
        for index in range(count):
            self.now = index
            yield Frame(index, Fraction(index, 25), self.picture(index, ground))

    def picture(self, index: int, ground: int = 0) -> Image:
        rgb = self.textures[ground].copy()
        for face, places in enumerate(self.places):
            place = places[index]
            if place is not None and index not in self.hidden:
                x, y = (round(value) for value in place)
                top, left = max(y - 40, 0), max(x - 40, 0)
                rgb[top : y + 40, left : x + 40] = self.textures[2 + face][80 - (y - top) : 120, 160 - (x - left) : 200][
                    : rgb[top : y + 40].shape[0], : rgb[0, left : x + 40].shape[0]
                ]
        return np.ascontiguousarray(rgb)

    def _visible(self) -> list[Place]:
        if self.now in self.hidden:
            return []
        return [place for places in self.places if (place := places[self.now]) is not None]

    def detect(self, rgb: Image, *, thorough: bool = False) -> list[Detection]:
        self.searches.append(self.now)
        return [Detection(box_at(*place), 0.5) for place in self._visible()]

    def detect_near(self, rgb: Image, box: npt.NDArray[np.float32]) -> list[Detection]:
        return [Detection(box_at(*place), 0.5) for place in self._visible() if overlap(box_at(*place), box) > 0.2]


class ScenePoints(Landmarker):
    """Landmarks of the disc nearest to the box, or the box's own when no disc is there. Knows the frame by its picture."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene

    def points(self, rgb: Image, box: npt.NDArray[np.float32], *, angle: float = 0.0, rounds: int = 1) -> Points:
        now = next((i for i in range(self.scene.now, max(self.scene.now - 12, -1), -1) if (self.scene.picture(i) == rgb).all()), None)
        middle = (box[:2] + box[2:]) / 2
        places = [p[now] for p in self.scene.places if p[now] is not None] if now is not None and now not in self.scene.hidden else []
        near = [place for place in places if place is not None and overlap(box_at(*place), box) > 0.3]
        x, y = min(near, key=lambda place: float(np.hypot(*(middle - place)))) if near else (float(middle[0]), float(middle[1]))
        return shape_at(x, y)


def tracked(scene: Scene, count: int, **kwargs: int) -> list[FaceTrack]:
    return track_video(scene.frames(count), FaceStream(FaceTracker(scene, landmarker=ScenePoints(scene), **kwargs)))


def span(track: FaceTrack) -> tuple[int, int]:
    return track.first, track.first + len(track) - 1


def still(count: int, x: float = 100, y: float = 100) -> list[Place | None]:
    return [(x, y)] * count


def test_one_face_is_one_track_searched_every_n_frames() -> None:
    scene = Scene([[(60 + 2 * i, 100 + i / 2) for i in range(60)]])
    (track,) = tracked(scene, 60, every=5)
    assert span(track) == (0, 59)
    assert track.seen.all()
    assert scene.searches == list(range(0, 60, 5))
    truth = np.stack([shape_at(60 + 2 * i, 100 + i / 2) for i in range(60)])
    np.testing.assert_allclose(track.points, truth, atol=0.01)


def test_nobody_is_no_track() -> None:
    assert tracked(Scene([]), 30) == []


def test_a_short_gap_is_bridged_and_marked() -> None:
    scene = Scene([still(60)], hidden=frozenset(range(22, 29)))
    (track,) = tracked(scene, 60)
    assert span(track) == (0, 59)
    assert np.flatnonzero(~track.seen).tolist() == list(range(22, 29))


def test_a_long_gap_ends_the_track() -> None:
    scene = Scene([still(80)], hidden=frozenset(range(22, 50)))
    first, second = tracked(scene, 80)
    assert span(first) == (0, 21)
    assert span(second) == (50, 79)
    assert first.id != second.id


def test_a_face_that_comes_between_two_searches_is_followed_back() -> None:
    scene = Scene([[None if i < 12 else (200, 100) for i in range(40)]])
    (track,) = tracked(scene, 40, every=5)
    assert scene.searches[:4] == [0, 5, 10, 15]
    assert span(track) == (12, 39)


def test_two_people_cross_and_keep_their_names() -> None:
    left: list[Place | None] = [(60 + 4 * i, 90) for i in range(60)]
    right: list[Place | None] = [(300 - 4 * i, 140) for i in range(60)]
    tracks = tracked(Scene([left, right]), 60)
    assert [span(track) for track in tracks] == [(0, 59), (0, 59)]
    x = sorted((float(track.points[0].mean(0)[0]), float(track.points[-1].mean(0)[0])) for track in tracks)
    assert x[0][0] < x[0][1]
    assert x[1][0] > x[1][1]


def test_no_track_crosses_a_cut() -> None:
    scene = Scene([still(40)])

    def frames() -> Iterator[Frame]:
        for frame in scene.frames(40):
            rgb = frame.rgb if frame.index < 17 else np.ascontiguousarray(255 - frame.rgb)
            yield Frame(frame.index, frame.time, rgb)

    tracks = track_video(frames(), FaceStream(FaceTracker(scene, landmarker=ScenePoints(scene))))
    assert [span(track) for track in tracks] == [(0, 16), (17, 39)]
    assert 17 in scene.searches


def test_a_false_alarm_makes_no_track() -> None:
    class Nervous(Scene):
        def detect(self, rgb: Image, *, thorough: bool = False) -> list[Detection]:
            super().detect(rgb)
            return [Detection(box_at(250, 120), 0.3)] if self.now == 10 else []

        def detect_near(self, rgb: Image, box: npt.NDArray[np.float32]) -> list[Detection]:
            return []

    assert tracked(Nervous([]), 50) == []


def test_max_faces_keeps_the_one_it_has() -> None:
    late: list[Place | None] = [None if i < 20 else (300, 100) for i in range(60)]
    (track,) = tracked(Scene([still(60), late]), 60, max_faces=1)
    assert span(track) == (0, 59)
    assert abs(float(track.points[:, :, 0].mean()) - float(shape_at(100, 100)[:, 0].mean())) < 1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="every >= 1"):
        FaceTracker(every=0)


def test_main_track_is_long_and_large() -> None:
    def make(key: int, count: int, size: float) -> FaceTrack:
        points = np.stack([LOCAL * size] * count).astype(np.float32)
        return FaceTrack(key, 0, points, np.ones(count, np.bool_), np.ones(count, np.float32))

    assert main_track([make(0, 10, 10), make(1, 10, 30), make(2, 20, 12)]).id == 1
    with pytest.raises(ValueError, match="at least one"):
        main_track([])


def real(path: Path, start: int, stop: int) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for index, frame in enumerate(islice(container.decode(video=0), start, stop)):
            yield Frame(index, Fraction(index, 25), np.ascontiguousarray(frame.to_ndarray(format="rgb24")))


def test_real_speaker_is_one_track_without_gaps(clips_dir: Path) -> None:
    (track,) = track_video(real(clips_dir / "special" / "keep_real_1.mp4", 0, 60))
    assert span(track) == (0, 59)
    assert track.seen.all()
    jump = np.abs(np.diff(track.points, axis=0)).max()
    assert jump < 0.15 * float(np.ptp(track.points[0, :, 0]))


def test_real_cut_is_found_to_the_frame(clips_dir: Path) -> None:
    frames = list(smoothed(real(clips_dir / "special" / "scene_cut.mp4", 60, 110), FaceStream()))
    assert [frame.index for frame in frames if frame.cut] == [82 - 60]
    before = {face.track_id for frame in frames[:22] for face in frame.faces}
    after = {face.track_id for frame in frames[22:] for face in frame.faces}
    assert before
    assert after
    assert not before & after


def test_real_pair_of_speakers_gives_two_tracks(clips_dir: Path) -> None:
    tracks = track_video(real(clips_dir / "special" / "multi_face_grid.mp4", 0, 25))
    assert [span(track) for track in tracks] == [(0, 24), (0, 24)]


def test_real_car_has_no_face(clips_dir: Path) -> None:
    assert track_video(real(clips_dir / "special" / "no_face.mp4", 80, 120)) == []


def test_a_single_picture_gives_its_face(clips_dir: Path) -> None:
    (track,) = track_video(real(clips_dir / "train" / "spk01.mp4", 0, 1))
    assert span(track) == (0, 0)
