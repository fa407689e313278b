"""Photos that the user gives as references: found, aligned, and offered to whoever in the video they show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keyframes_gan.errors import FaceError
from keyframes_gan.faces import align, detectors
from keyframes_gan.faces.identity import SAME_PERSON, embed, similarity
from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.types import CROP_SIZES, FloatArray, Image, Points, Reference
from keyframes_gan.video.pictures import read_picture

if TYPE_CHECKING:
    from keyframes_gan.keyframes.memory import KeyframeMemory


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
        detector: name of a face detector.

    Raises:
        MediaError: a photo cannot be read.
        FaceError: a photo shows no face.
    """

    def __init__(self, paths: tuple[Path, ...], detector: str) -> None:
        self.photos = [self._load(path, detector) for path in paths]

    def _load(self, path: Path, detector: str) -> Photo:
        rgb = read_picture(path)
        found = detectors.find(detector)().detect(rgb)
        if not found:
            msg = f"--reference: expected a photo with a face, found none in {path}; give another photo or leave this one out"
            raise FaceError(msg)
        largest = max(found, key=lambda face: float((face.box[2:] - face.box[:2]).prod()))
        points = Landmarker().points(rgb, largest.box, rounds=2)
        size = align.native_size(points, CROP_SIZES)
        matrix = align.CropSpec("eyes", size).to_crop(points)
        reference = Reference(align.crop(rgb, matrix, size), None, align.transform_points(points, matrix), None)
        return Photo(path, reference, embed(rgb, points))

    def fill(self, memory: KeyframeMemory, rgb: Image, points: Points) -> None:
        """Pin the photos that show the person with landmarks `points`, float32 (68, 2), in `rgb` into that person's memory."""
        if not self.photos:
            return
        identity = embed(rgb, points)
        for photo in self.photos:
            if similarity(photo.identity, identity) >= SAME_PERSON:
                memory.add(photo.reference, photo.path, pinned=True)
