"""Landmarks and identity: they must move, turn and grow with the picture, and tell people apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keyframes_gan.faces.align import transform_points
from keyframes_gan.faces.detectors import find
from keyframes_gan.faces.identity import SAME_PERSON, embed, similarity
from keyframes_gan.faces.landmarks import Landmarker, box_of, roll_of
from keyframes_gan.types import Image, Points

Face = tuple[Image, Points]


@pytest.fixture(scope="module")
def face(clips_dir: Path) -> Callable[[str, int], Face]:
    def get(name: str, number: int) -> Face:
        with av.open(str(clips_dir / name)) as container:
            frame = next(islice(container.decode(video=0), number, None))
            rgb = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
        return rgb, Landmarker().points(rgb, find("dlib-hog")().detect(rgb)[0].box, rounds=3)

    return get


def test_points_lie_where_a_face_has_them(face: Callable[[str, int], Face]) -> None:
    _, points = face("train/spk16.mp4", 0)
    assert points.dtype == np.float32
    brows, eyes, nose, mouth, chin = (points[part].mean(0)[1] for part in (slice(17, 27), slice(36, 48), slice(31, 36), slice(48, 68), [8]))
    assert brows < eyes < nose < mouth < chin
    assert points[36:42, 0].max() < points[27:31, 0].mean() < points[42:48, 0].min()


@pytest.mark.parametrize(("angle", "scale"), [(0, 0.5), (0, 2.0), (25, 1.0), (-25, 0.7)])
def test_points_follow_the_picture(face: Callable[[str, int], Face], angle: float, scale: float) -> None:
    rgb, points = face("train/spk16.mp4", 0)
    middle = points.mean(0)
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, scale)
    matrix[:, 2] += np.array([400, 400]) - middle
    turned = cv2.warpAffine(rgb, matrix, (800, 800), flags=cv2.INTER_CUBIC)
    expected = transform_points(points, matrix)
    got = Landmarker().points(turned, box_of(expected) + 3, angle=roll_of(expected), rounds=2)
    error = np.hypot(*(got - expected).T).mean() / np.ptp(expected[:, 0])
    assert error < 0.02


def test_more_boxes_jitter_less(face: Callable[[str, int], Face]) -> None:
    rgb, points = face("train/spk16.mp4", 0)
    box = box_of(points)
    shifts = np.random.default_rng(0).uniform(-4, 4, (12, 2)).astype(np.float32)
    spread = [np.std([Landmarker(boxes).points(rgb, box + np.tile(shift, 2)) for shift in shifts], axis=0).mean() for boxes in (1, 5)]
    assert spread[1] < 0.8 * spread[0]
    with pytest.raises(ValueError, match="1 to 5"):
        Landmarker(6)


def test_a_box_half_outside_gives_points_all_the_same(face: Callable[[str, int], Face]) -> None:
    rgb, points = face("train/spk16.mp4", 0)
    cut = np.ascontiguousarray(rgb[:, int(points[30, 0]) :])
    got = Landmarker().points(cut, box_of(points) - np.array([points[30, 0], 0] * 2, np.float32))
    assert np.isfinite(got).all()


def test_roll_and_box_of_known_points() -> None:
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48] = (0, 0), (10, 10)
    assert roll_of(points) == pytest.approx(np.pi / 4)
    shifted = box_of(points + 5) - box_of(points)
    np.testing.assert_allclose(shifted, 5, atol=1e-5)
    np.testing.assert_allclose(box_of(3 * points), 3 * box_of(points), rtol=1e-5)


def test_identity_tells_people_apart(face: Callable[[str, int], Face]) -> None:
    one, again, other = (embed(*face(*which)) for which in (("train/spk16.mp4", 0), ("train/spk16.mp4", 60), ("train/spk10.mp4", 0)))
    assert one.shape == (128,)
    assert one.dtype == np.float32
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)
    assert similarity(one, again) > SAME_PERSON > similarity(one, other)
