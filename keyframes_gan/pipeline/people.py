"""One person in the video: the frames that wait for the next clip, the key frames, the restorer's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keyframes_gan.faces import align
from keyframes_gan.keyframes.fit import fit
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline.canvas import Canvas
from keyframes_gan.types import FaceClip, Image, Matrix, Points, Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyframes_gan.faces.smooth import SmoothFace
    from keyframes_gan.pipeline.clock import Stopwatch
    from keyframes_gan.types import Frame, Restorer


class Slot:
    """A frame on its way through: its picture is written when its faces are `placed` (known) and none is `waiting`.

    Args:
        frame: as decoded; never written to.
        canvas: makes the output picture; by default one of the same size, faces feathered in.
    """

    def __init__(self, frame: Frame, canvas: Canvas | None = None) -> None:
        self.frame = frame
        self.waiting = 0
        self.placed = False
        self._canvas = canvas or Canvas()
        self._picture: Image | None = None

    @property
    def picture(self) -> Image:
        """The output so far, made when it is first needed: the background with the faces pasted until now."""
        return self.prepare()

    def prepare(self) -> Image:
        """Make the background, if it is not there yet, and return the output so far."""
        if self._picture is None:
            self._picture = self._canvas.background(self.frame.rgb)
        return self._picture

    def paste(self, restored: Image, given: Image, to_crop: Matrix, *, residual: bool) -> None:
        """Put one restored face in."""
        if self.picture is self.frame.rgb:
            self._picture = self.frame.rgb.copy()
        self._canvas.paste(self.picture, restored, given, to_crop, residual=residual)
        self.waiting -= 1


class Person:
    """Collects the frames of one track and restores them clip by clip.

    Args:
        track_id: of the track.
        restorer: restores the crops.
        memory: this person's key frames; photos that show the person are in it already, at any size.
        clock: counts the seconds of each stage.
    """

    def __init__(self, track_id: int, restorer: Restorer, memory: KeyframeMemory, clock: Stopwatch) -> None:
        self.track_id = track_id
        self.memory = memory
        self._restorer = restorer
        self._state = restorer.start(track_id)
        self._clock = clock
        self._pending: list[tuple[Slot, SmoothFace]] = []
        self._size = 0

    @property
    def last_index(self) -> int:
        """Index of the newest frame that waits, -1 when none does."""
        return self._pending[-1][0].frame.index if self._pending else -1

    @property
    def size(self) -> int:
        """Side of the latest crops in pixels, 0 before the first."""
        return self._size

    def add(self, slot: Slot, face: SmoothFace) -> None:
        """Take the face in `slot`; restores when a clip is full."""
        slot.waiting += 1
        self._pending.append((slot, face))
        if len(self._pending) == self._restorer.spec.clip_length:
            self.restore()

    def restore(self) -> None:
        """Restore and paste what waits; nothing to do when nothing does."""
        if not self._pending:
            return
        with self._clock("align"):
            clip = self._clip()
        with self._clock("restore"):
            restored = self._restorer.restore(clip, self._state)
        with self._clock("background"):
            for slot, _ in self._pending:
                slot.prepare()
        with self._clock("paste"):
            for (slot, _), picture, given, matrix in zip(self._pending, restored, clip.crops, clip.to_crop, strict=True):
                slot.paste(picture, given, matrix, residual=self._restorer.spec.residual)
        self._pending.clear()

    def _clip(self) -> FaceClip:
        points = np.stack([face.points for _, face in self._pending])
        template = self._restorer.spec.template
        self._fit_size(align.native_size(points, self._restorer.spec.crop_sizes, template=template))
        spec = align.CropSpec(template, self._size)
        matrices = [spec.to_crop(face.points) for _, face in self._pending]
        landmarks = [align.transform_points(face.points, matrix) for (_, face), matrix in zip(self._pending, matrices, strict=True)]
        crops = [align.crop(slot.frame.rgb, matrix, self._size) for (slot, _), matrix in zip(self._pending, matrices, strict=True)]
        return FaceClip(
            track_id=self.track_id,
            first=self._pending[0][0].frame.index,
            crops=np.stack(crops),
            to_crop=np.stack(matrices),
            landmarks=np.stack(landmarks),
            references=self._references(crops, landmarks),
        )

    def _fit_size(self, size: int) -> None:
        """Grow at once, so that no face pixel is lost; shrink only to half or less, so that a face at a border does not flicker."""
        if size > self._size or size * 2 <= self._size:
            self._size = size
            self.memory.replace(lambda reference: fit(reference, size))

    def _references(self, crops: Sequence[Image], landmarks: Sequence[Points]) -> tuple[Reference | None, ...]:
        """Choose a reference for every frame; a key frame of the stream joins the memory first."""
        chosen = []
        for (slot, face), picture, points in zip(self._pending, crops, landmarks, strict=True):
            if slot.frame.is_key and face.seen:
                self.memory.add(Reference(picture, picture, points, slot.frame.time), slot.frame.index)
            chosen.append(self.memory.choose(points))
        return tuple(chosen)
