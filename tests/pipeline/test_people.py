"""One person on the way through: how large the crops are, and which photos become key frames."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.data import astronaut

from keyframes_gan.errors import FaceError
from keyframes_gan.faces import align
from keyframes_gan.faces.detectors.dlib_hog import HogDetector
from keyframes_gan.faces.smooth import SmoothFace
from keyframes_gan.keyframes.fit import fit
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.keyframes.sent import KeyChannel
from keyframes_gan.pipeline import photos
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.framing import FaceFraming
from keyframes_gan.pipeline.people import Person, Slot
from keyframes_gan.pipeline.photos import Photo, PhotoAlbum
from keyframes_gan.pipeline.restoring import Runner
from keyframes_gan.report import write_png
from keyframes_gan.types import Frame, Reference

PICTURE = np.zeros((300, 300, 3), np.uint8)


def slot(index: int, *, is_key: bool = False) -> Slot:
    return Slot(Frame(index, index, PICTURE, is_key))  # type: ignore[arg-type]


class Restored:
    """A person whose clips are restored when they are full."""

    def __init__(self, recorder: Any, memory: KeyframeMemory | None = None, channel: KeyChannel | None = None, **options: Any) -> None:
        self.person = Person(0, recorder, KeyframeMemory(2) if memory is None else memory, channel=channel)
        self.runner = Runner(recorder, Stopwatch(), **options)

    def add(self, one: Slot, face: SmoothFace) -> None:
        self.person.add(one, face)
        self.runner.run(self.runner.due([self.person]))

    def restore(self) -> None:
        self.runner.run([self.person])


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
    person = Restored(recorder)
    for index, distance in enumerate(eyes):
        person.add(slot(index), seen(face(150, 150, distance)))
    assert tuple(clip.crops.shape[1] for clip in recorder.clips) == sides
    for clip, side in zip(recorder.clips, sides, strict=True):
        apart = clip.landmarks[0, 42:48].mean(axis=0) - clip.landmarks[0, 36:42].mean(axis=0)
        np.testing.assert_allclose(apart, [0.24 * side, 0], atol=0.01)


def test_the_largest_face_of_a_clip_counts(record: Any, face: Any) -> None:
    recorder = record(clip_length=3)
    person = Restored(recorder)
    for index, distance in enumerate((15, 50, 15)):
        person.add(slot(index), seen(face(150, 150, distance)))
    assert [clip.crops.shape for clip in recorder.clips] == [(3, 256, 256, 3)]


def test_key_frames_follow_the_crop_size(record: Any, face: Any) -> None:
    recorder = record(clip_length=1)
    person = Restored(recorder)
    for index, distance in enumerate((15, 30)):
        person.add(slot(index, is_key=index == 0), seen(face(150, 150, distance)))
    first, second = (clip.references[0] for clip in recorder.clips)
    assert (first.picture.shape, second.picture.shape, second.compressed.shape) == ((64, 64, 3), (128, 128, 3), (128, 128, 3))
    points = face(150, 150, 15)
    lie = align.transform_points(points, align.CropSpec("eyes", 128).to_crop(points))
    np.testing.assert_allclose(second.landmarks, lie, atol=1e-3)


@pytest.mark.parametrize("source", ["photo", "sent"])
def test_references_are_not_worn_out_by_faces_that_come_and_go(record: Any, face: Any, source: str) -> None:
    """Close, far and close again: the last crop gets the reference in full, not one enlarged from the small."""
    recorder = record(clip_length=1)
    channel = KeyChannel(None) if source == "sent" else None
    memory = KeyframeMemory(5)
    if source == "photo":
        memory.add(Reference(np.ascontiguousarray(textured()[:128, :128]), None, face(64, 58, 30), None), "photo", pinned=True)
    person = Restored(recorder, memory=memory, channel=channel)
    for index, distance in enumerate((30, 8, 30)):
        one = slot(index)
        one.original = textured() if channel and index == 0 else None
        person.add(one, seen(face(150, 150, distance)))
    first, second, third = (clip.references[0].picture for clip in recorder.clips)
    assert (len(first), len(second)) == (128, 64)
    np.testing.assert_array_equal(third, first)


def test_a_clip_that_ends_early_is_restored_as_it_is(record: Any, face: Any) -> None:
    recorder = record(clip_length=8)
    person = Restored(recorder)
    slots = [slot(index) for index in range(3)]
    for one in slots:
        person.add(one, seen(face(150, 150, 15)))
    assert ([one.waiting for one in slots], recorder.clips) == ([1, 1, 1], [])
    assert person.person.waiting == 3
    person.restore()
    person.restore()
    assert ([one.waiting for one in slots], [len(clip) for clip in recorder.clips]) == ([0, 0, 0], [3])
    assert person.person.waiting == 0


def textured() -> Any:
    """A picture in which every pixel differs from its neighbours."""
    return np.ascontiguousarray(np.random.default_rng(5).integers(0, 256, (300, 300, 3), np.uint8))


def key_of(framing: FaceFraming, points: Any, size: int, *, time: Fraction | None = Fraction(0)) -> Reference:
    to_crop = framing.to_crop(points, size)
    picture = align.crop(textured(), to_crop, size)
    return Reference(picture, 255 - picture, align.transform_points(points, to_crop), time)


def upright(record: Any) -> FaceFraming:
    return FaceFraming(replace(record().spec, template="upright"))


def test_key_frames_that_are_windows_of_the_frame_stay_so_when_crops_grow(record: Any, face: Any) -> None:
    framing, points = upright(record), face(150, 150, 15)
    key, grown = key_of(framing, points, 64), key_of(framing, points, 128)
    after = framing.fitted(key, 128)
    inner = slice(33, 95)
    np.testing.assert_array_equal(after.picture[inner, inner], grown.picture[inner, inner])
    assert after.compressed is not None
    np.testing.assert_array_equal(after.compressed[inner, inner], 255 - after.picture[inner, inner])
    np.testing.assert_allclose(after.landmarks, grown.landmarks, atol=1e-4)


def test_a_face_too_large_for_smaller_crops_is_shrunk_not_cut(record: Any, face: Any) -> None:
    framing = upright(record)
    after = framing.fitted(key_of(framing, face(150, 150, 30), 128), 64)
    np.testing.assert_allclose(align.box_of(after.landmarks).reshape(2, 2).mean(axis=0), [31.5, 31.5], atol=0.6)
    assert float(np.ptp(align.box_of(after.landmarks)[::2])) < 64 / align.BOX_MARGIN + 0.6


def test_small_faces_and_their_key_frames_are_enlarged_alike(record: Any, face: Any) -> None:
    framing = FaceFraming(replace(record().spec, template="upright", crop_sizes=(64, 96, 128), least_face=64.0))
    points = face(150, 150, 6)
    assert framing.size(points[None]) == 96
    assert align.scale_of(framing.to_crop(points, 96)) > 1
    key = key_of(framing, points, 96)
    assert np.ptp(align.box_of(key.landmarks)[::2]) == pytest.approx(64, abs=0.1)
    assert np.ptp(align.box_of(framing.fitted(key, 128).landmarks)[::2]) == pytest.approx(64, abs=0.1)


def test_photos_are_resized(record: Any, face: Any) -> None:
    framing = upright(record)
    photo = key_of(framing, face(150, 150, 15), 64, time=None)
    np.testing.assert_array_equal(framing.fitted(photo, 128).picture, fit(photo, 128).picture)


def unit(cosine: float) -> Any:
    return np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)


def album_of(face: Any, **photos_: float) -> PhotoAlbum:
    """Photos by name, each as similar to the person as it says."""
    album = PhotoAlbum((), HogDetector())
    for name, cosine in photos_.items():
        album.photos.append(Photo(Path(name), Reference(np.zeros((64, 64, 3), np.uint8), None, face(32, 29, 15), None), unit(cosine)))
    return album


def test_photos_serve_only_whom_they_show(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    album, memory = album_of(face, same=0.95, stranger=0.93), KeyframeMemory(1)
    monkeypatch.setattr(photos, "embed", lambda *_: unit(1.0))
    album.offer(0, 0, memory, PICTURE, face(150, 150, 15))
    assert memory.keys == (Path("same"),)
    assert album.notes() == ["--reference stranger: not used, the likest face has a similarity of 0.930, 0.94 is needed"]
    for index in range(3):
        memory.add(album.photos[0].reference, index)
    assert memory.keys == (Path("same"), 2)


def test_a_person_is_compared_again_now_and_then(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    album, memory, looks = album_of(face, same=1.0, stranger=0.2), KeyframeMemory(1), []
    memory.fit(partial(fit, size=128))

    def embed(*_: Any) -> Any:
        looks.append(index)
        return unit(1.0 if index > 60 else -1.0)

    monkeypatch.setattr(photos, "embed", embed)
    for index in range(400):
        album.offer(7, index, memory, PICTURE, face(150, 150, 15))
        assert memory.keys == ((Path("same"),) if index >= 75 else ())
    assert looks == list(range(0, 250, 25))
    assert memory.references[0].picture.shape == (128, 128, 3)
    np.testing.assert_allclose(memory.references[0].landmarks, (face(32, 29, 15) + 0.5) * 2 - 0.5, atol=1e-4)
    album.forget(7)
    album.offer(7, index, memory, PICTURE, face(150, 150, 15))
    assert looks[-1] == 399


def test_when_all_photos_are_placed_nobody_is_compared(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    album, memory = album_of(face, same=1.0), KeyframeMemory(1)
    monkeypatch.setattr(photos, "embed", lambda *_: unit(1.0))
    album.offer(0, 0, memory, PICTURE, face(150, 150, 15))
    monkeypatch.setattr(photos, "embed", None)
    album.offer(0, 100, memory, PICTURE, face(150, 150, 15))
    PhotoAlbum((), HogDetector()).offer(0, 0, KeyframeMemory(1), PICTURE, face(150, 150, 15))
    assert album.notes() == []
    assert album_of(face, lonely=1.0).notes() == ["--reference lonely: not used, there was no face to compare it with"]


def test_a_photo_becomes_an_aligned_reference(tmp_path: Path) -> None:
    write_png(np.ascontiguousarray(astronaut()[0:256, 96:352]), tmp_path / "photo.png")
    (photo,) = PhotoAlbum((tmp_path / "photo.png",), HogDetector()).photos
    side = photo.reference.picture.shape[0]
    np.testing.assert_allclose(photo.reference.landmarks[36:48].mean(axis=0), [0.5 * side, 0.45 * side], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(photo.identity), 1, atol=1e-5)
    assert (photo.reference.time, photo.reference.compressed) == (None, None)


def test_a_photo_without_a_face_is_named(tmp_path: Path, moving: Any) -> None:
    write_png(moving(1, (160, 120))[0], tmp_path / "wall.png")
    with pytest.raises(FaceError, match=r"--reference: expected a photo with a face, found none in .*wall\.png"):
        PhotoAlbum((tmp_path / "wall.png",), HogDetector())
