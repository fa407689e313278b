"""Photos that the user gives as references: found, aligned, and offered to whoever in the video they show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keyframes_gan.errors import FaceError
from keyframes_gan.faces import align
from keyframes_gan.faces.identity import SAME_PERSON, embed, similarity
from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.types import CROP_SIZES, FloatArray, Image, Points, Reference
from keyframes_gan.video.pictures import read_picture

if TYPE_CHECKING:
    from keyframes_gan.faces.detectors import Detector
    from keyframes_gan.keyframes.memory import KeyframeMemory

LOOK_EVERY = 25
MOST_LOOKS = 10
"""A person whom not all photos have been found to show is compared with the others every so many frames, and so often at most."""


@dataclass(frozen=True)
class Photo:
    """The largest face of one photo, aligned, with its unit-norm identity embedding."""

    path: Path
    reference: Reference
    identity: FloatArray


class PhotoAlbum:
    """The photos given with `--reference`.

    Args:
        paths: pictures, each with at least one face; the largest counts.
        detector: finds the faces.

    Raises:
        MediaError: a photo cannot be read.
        FaceError: a photo shows no face.
    """

    def __init__(self, paths: tuple[Path, ...], detector: Detector) -> None:
        self.photos = [self._load(path, detector) for path in dict.fromkeys(paths)]
        self._looks: dict[int, list[int]] = {}
        self._likest: dict[Path, float] = {}

    def _load(self, path: Path, detector: Detector) -> Photo:
        rgb = read_picture(path)
        found = detector.detect(rgb)
        if not found:
            msg = f"--reference: expected a photo with a face, found none in {path}; give another photo or leave this one out"
            raise FaceError(msg)
        largest = max(found, key=lambda face: float((face.box[2:] - face.box[:2]).prod()))
        points = Landmarker().points(rgb, largest.box, rounds=2)
        size = align.native_size(points, CROP_SIZES)
        matrix = align.CropSpec("eyes", size).to_crop(points)
        reference = Reference(align.crop(rgb, matrix, size), None, align.transform_points(points, matrix), None)
        return Photo(path, reference, embed(rgb, points))

    def offer(self, track_id: int, index: int, memory: KeyframeMemory, rgb: Image, points: Points) -> None:
        """Pin the photos that show a person into that person's memory. Cheap to call on every frame: it looks now and then only.

        Args:
            track_id: of the person.
            index: of the frame.
            memory: the person's key frames.
            rgb: the frame.
            points: float32 (68, 2), the person's landmarks in it.
        """
        waiting = [photo for photo in self.photos if photo.path not in memory.keys]
        looks = self._looks.setdefault(track_id, [])
        if not waiting or len(looks) == MOST_LOOKS or (looks and index - looks[-1] < LOOK_EVERY):
            return
        looks.append(index)
        identity = embed(rgb, points)
        for photo in waiting:
            alike = similarity(photo.identity, identity)
            self._likest[photo.path] = max(alike, self._likest.get(photo.path, -1.0))
            if alike >= SAME_PERSON:
                memory.add(photo.reference, photo.path, pinned=True)

    def forget(self, track_id: int) -> None:
        """Forget a person who has left."""
        self._looks.pop(track_id, None)

    def notes(self) -> list[str]:
        """Return a line for every photo that served nobody."""
        lines = []
        for photo in self.photos:
            alike = self._likest.get(photo.path)
            if alike is None:
                lines.append(f"--reference {photo.path}: not used, there was no face to compare it with")
            elif alike < SAME_PERSON:
                lines.append(
                    f"--reference {photo.path}: not used, the likest face has a similarity of {alike:.3f}, {SAME_PERSON} is needed"
                )
        return lines
