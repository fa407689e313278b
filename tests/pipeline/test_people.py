"""One person on the way through: how large the crops are, and which photos become key frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.data import astronaut

from keyframes_gan.errors import FaceError
from keyframes_gan.faces.smooth import SmoothFace
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline import photos
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.people import Person, Slot
from keyframes_gan.pipeline.photos import Photo, PhotoAlbum
from keyframes_gan.report import write_png
from keyframes_gan.types import Frame, Reference

PICTURE = np.zeros((300, 300, 3), np.uint8)


def slot(index: int, *, is_key: bool = False) -> Slot:
    return Slot(Frame(index, index, PICTURE, is_key))  # type: ignore[arg-type]


def seen(points: Any) -> SmoothFace:
    return SmoothFace(0, points, True, 1.0)


@pytest.mark.parametrize(
    ("eyes", "sides"),
    [
        ((15, 30), (64, 128)),
        ((30, 20, 16), (128, 128, 128)),
        ((30, 15), (128, 64)),
        ((15, 40, 30, 15), (64, 256, 128, 64)),
        ((70,), (256,)),
    ],
    ids=["grows at once", "does not shrink a little", "shrinks to half", "up and down", "the largest there is"],
)
def test_crop_size(record: Any, face: Any, eyes: tuple[float, ...], sides: tuple[int, ...]) -> None:
    recorder = record(clip_length=1)
    person = Person(0, recorder, KeyframeMemory(2), Stopwatch())
    for index, distance in enumerate(eyes):
        person.add(slot(index), seen(face(150, 150, distance)))
    assert tuple(clip.crops.shape[1] for clip in recorder.clips) == sides
    for clip, side in zip(recorder.clips, sides, strict=True):
        apart = clip.landmarks[0, 42:48].mean(axis=0) - clip.landmarks[0, 36:42].mean(axis=0)
        np.testing.assert_allclose(apart, [0.24 * side, 0], atol=0.01)


def test_the_largest_face_of_a_clip_counts(record: Any, face: Any) -> None:
    recorder = record(clip_length=3)
    person = Person(0, recorder, KeyframeMemory(2), Stopwatch())
    for index, distance in enumerate((15, 50, 15)):
        person.add(slot(index), seen(face(150, 150, distance)))
    assert [clip.crops.shape for clip in recorder.clips] == [(3, 256, 256, 3)]


def test_key_frames_follow_the_crop_size(record: Any, face: Any) -> None:
    recorder = record(clip_length=1)
    person = Person(0, recorder, KeyframeMemory(2), Stopwatch())
    for index, distance in enumerate((15, 30)):
        person.add(slot(index, is_key=index == 0), seen(face(150, 150, distance)))
    first, second = (clip.references[0] for clip in recorder.clips)
    assert (first.picture.shape, second.picture.shape, second.compressed.shape) == ((64, 64, 3), (128, 128, 3), (128, 128, 3))
    np.testing.assert_allclose(second.landmarks, (first.landmarks + 0.5) * 2 - 0.5, atol=1e-3)


def test_a_clip_that_ends_early_is_restored_as_it_is(record: Any, face: Any) -> None:
    recorder = record(clip_length=8)
    person = Person(0, recorder, KeyframeMemory(2), Stopwatch())
    slots = [slot(index) for index in range(3)]
    for one in slots:
        person.add(one, seen(face(150, 150, 15)))
    assert ([one.waiting for one in slots], recorder.clips) == ([1, 1, 1], [])
    assert person.last_index == 2
    person.restore()
    person.restore()
    assert ([one.waiting for one in slots], [len(clip) for clip in recorder.clips]) == ([0, 0, 0], [3])
    assert person.last_index == -1


def unit(cosine: float) -> Any:
    return np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)


def test_photos_serve_only_whom_they_show(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    album = PhotoAlbum((), "dlib-hog")
    for name, cosine in (("same.jpg", 0.95), ("stranger.jpg", 0.93)):
        reference = Reference(np.zeros((64, 64, 3), np.uint8), None, face(32, 29, 15), None)
        album.photos.append(Photo(Path(name), reference, unit(cosine)))
    monkeypatch.setattr(photos, "embed", lambda *_: unit(1.0))
    memory = KeyframeMemory(1)
    album.fill(memory, PICTURE, face(150, 150, 15))
    assert memory.keys == (Path("same.jpg"),)
    for index in range(3):
        memory.add(album.photos[0].reference, index)
    assert memory.keys == (Path("same.jpg"), 2)


def test_without_photos_nobody_is_identified(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "embed", None)
    PhotoAlbum((), "dlib-hog").fill(KeyframeMemory(1), PICTURE, face(150, 150, 15))


def test_a_photo_becomes_an_aligned_reference(tmp_path: Path) -> None:
    write_png(np.ascontiguousarray(astronaut()[0:256, 96:352]), tmp_path / "photo.png")
    (photo,) = PhotoAlbum((tmp_path / "photo.png",), "dlib-hog").photos
    side = photo.reference.picture.shape[0]
    np.testing.assert_allclose(photo.reference.landmarks[36:48].mean(axis=0), [0.5 * side, 0.45 * side], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(photo.identity), 1, atol=1e-5)
    assert (photo.reference.time, photo.reference.compressed) == (None, None)


def test_a_photo_without_a_face_is_named(tmp_path: Path, moving: Any) -> None:
    write_png(moving(1, (160, 120))[0], tmp_path / "wall.png")
    with pytest.raises(FaceError, match=r"--reference: expected a photo with a face, found none in .*wall\.png"):
        PhotoAlbum((tmp_path / "wall.png",), "dlib-hog")
