"""Detectors on pictures whose faces have been counted (the data's README), and how they are found by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.faces import dlib_models
from keyframes_gan.faces.detectors import find, names
from keyframes_gan.types import Image


def picture(clips_dir: Path, name: str) -> Image:
    return np.ascontiguousarray(cv2.imread(str(clips_dir.parent / "images" / name))[..., ::-1])


def test_names_and_an_unknown_one() -> None:
    assert names() == ["dlib-cnn", "dlib-hog", "retinaface_mobile0.25", "retinaface_resnet50", "YOLOv5l", "YOLOv5n"]
    with pytest.raises(UserError, match=r"expected a detector of dlib-cnn, .*YOLOv5n, got 'yolo'"):
        find("yolo")


@pytest.mark.parametrize(("name", "count", "widths"), [("2008_002506.jpg", 3, (91, 109)), ("two_people.jpg", 2, (156, 187))])
def test_hog_finds_the_counted_faces(clips_dir: Path, name: str, count: int, widths: tuple[int, int]) -> None:
    found = find("dlib-hog")(min_face=40, max_pixels=4_000_000).detect(picture(clips_dir, name))
    assert len(found) == count
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert 0.75 * widths[0] < one.box[2] - one.box[0] < 1.3 * widths[1]


def test_cnn_finds_the_same_people_as_hog(clips_dir: Path) -> None:
    rgb = picture(clips_dir, "two_people.jpg")
    hog, cnn = (find(name)(max_pixels=120_000).detect(rgb) for name in ("dlib-hog", "dlib-cnn"))
    assert len(cnn) == 2
    for one in cnn:
        assert min(float(np.abs(one.box - other.box).max()) for other in hog) < 80


@pytest.mark.parametrize("name", ["dlib-hog", "dlib-cnn"])
def test_a_face_is_found_near_its_place_and_nowhere_else(clips_dir: Path, name: str) -> None:
    rgb = picture(clips_dir, "two_people.jpg")
    detector = find(name)(max_pixels=120_000)
    left, right = sorted((one.box for one in detector.detect(rgb)), key=lambda box: float(box[0]))
    (again,) = detector.detect_near(rgb, left)
    assert np.abs(again.box - left).max() < 40
    assert detector.detect_near(rgb, np.array([5000, 5000, 5100, 5100], np.float32)) == []
    between = (left + right) / 2 + np.float32(0)
    assert all(np.abs(one.box - between).max() < right[0] - left[0] for one in detector.detect_near(rgb, between))


def test_a_thorough_search_finds_smaller_faces(clips_dir: Path) -> None:
    rgb = picture(clips_dir, "two_people.jpg")
    detector = find("dlib-hog")(max_pixels=80_000)
    assert detector.detect(rgb) == []
    assert len(detector.detect(rgb, thorough=True)) == 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (90, 90, 3)])
def test_flat_and_tiny_pictures_have_no_face(shape: tuple[int, ...]) -> None:
    assert find("dlib-hog")().detect(np.full(shape, 90, np.uint8)) == []


def test_rows_with_padding_are_refused_not_missed() -> None:
    with pytest.raises(ValueError, match="C-contiguous"):
        find("dlib-hog")().detect(np.zeros((64, 70, 3), np.uint8)[:, :64])


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="min_face > 0"):
        find("dlib-hog")(min_face=0)


def test_a_missing_model_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_models, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"pip install -r requirements\.txt"):
        dlib_models.model_path(dlib_models.IDENTITY)


def test_nothing_heavy_is_loaded_before_the_first_picture(repo_root: Path) -> None:
    code = (
        "import sys; from keyframes_gan.faces import track, identity; from keyframes_gan.faces.detectors import find, names;"
        "[find(name)() for name in names()]; track.FaceStream();"
        "sys.exit(bool({'dlib', 'torch', 'face_recognition_models', 'pkg_resources', 'av'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root, check=False).returncode == 0
