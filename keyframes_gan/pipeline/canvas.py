"""Output pictures: the background, enlarged on request, and the restored faces on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from keyframes_gan import upscale
from keyframes_gan.faces import align, blend
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.settings import Finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from keyframes_gan.types import Blend, FloatArray, Image, Matrix

BOX_COLOR = (0, 255, 0)
BOX_WIDTH = 0.004
"""Line width of drawn boxes, as a part of the picture's longer side."""
LABEL_SIZE = 0.0005
"""Size of the text below them, in OpenCV's units, likewise."""
FACE_NETWORK = "model"


@dataclass(frozen=True)
class RestoredFace:
    """A face that waits to be pasted.

    `restored`: the restored crop, uint8 (S, S, 3); `given`: the same crop before; `to_crop`: (2, 3), pixels of the *input* frame to crop
    pixels; `residual`: what counts is what the restorer changed, so that what it left alone stays as it was; `mask`: float32 (S, S) in
    [0, 1], how much of the crop to show, None for a soft one, the same for every face.
    """

    restored: Image
    given: Image
    to_crop: Matrix
    residual: bool
    mask: FloatArray | None = None


class Canvas:
    """Makes the picture that is written for a frame: first its background, then one face after the other on top.

    Args:
        finish: what the user asked for.
        device: where upscaling networks run: "auto", "cpu", "cuda", ...
        precision: of those networks: "fp32" or "bf16".
        clock: counts what backgrounds take.

    Attributes:
        scale: how many times as large as the input it is.
        blend: how faces are blended in.

    Raises:
        UserError: a value that the upscalers refuse.
        WeightsError: the weights of an upscaling network cannot be had.
    """

    def __init__(
        self, finish: Finish | None = None, *, device: str = "auto", precision: str = "fp32", clock: Stopwatch | None = None
    ) -> None:
        self._finish = finish = finish or Finish()
        self._clock = clock or Stopwatch()
        self.scale = finish.upscale
        self.blend: Blend = finish.blend or "feather"
        self._by_network = finish.background not in upscale.INTERPOLATIONS
        self._background = upscale.find(finish.background, scale=finish.upscale, tile=finish.bg_tile, device=device, precision=precision)
        self._face: upscale.Upscaler | None = None
        if finish.face_upsample:
            shared = finish.background in upscale.NETWORKS
            self._face = (
                self._background
                if shared
                else upscale.find(FACE_NETWORK, scale=self.scale, tile=finish.bg_tile, device=device, precision=precision)
            )

    def background(self, rgb: Image) -> Image:
        """Return the picture without its faces done, uint8 (scale * H, scale * W, 3); `rgb` itself when there is nothing to do."""
        with self._clock("background"):
            return self._background.upscale(rgb)

    def paste(self, picture: Image, faces: Sequence[RestoredFace]) -> None:
        """Paste all restored faces of a frame into `picture`, in place; where differences overlap, each gives its part."""
        masks = [face.mask for face in faces]
        if len(faces) > 1 and all(map(self._is_added, faces)):
            shown = [blend.default_mask(self.blend, len(face.given)) if face.mask is None else face.mask for face in faces]
            masks = [*blend.divided(shown, [face.to_crop for face in faces])]
        for face, mask in zip(faces, masks, strict=True):
            self._paste_one(picture, face, mask)

    def _is_added(self, face: RestoredFace) -> bool:
        """Tell whether the difference of the crops is what is pasted.

        It is not when the face is enlarged by a network, whose every pixel is new. Nor is it by "multiband" and "poisson" on a background
        from a network, which has sharpened the face already.
        """
        return face.residual and self._face is None and (self.blend == "feather" or not self._by_network)

    def _paste_one(self, picture: Image, face: RestoredFace, mask: FloatArray | None) -> None:
        restored = blend.match_color(face.restored, face.given) if self._finish.color_match else face.restored
        matrix = align.rescaled(face.to_crop, frame=self.scale)
        if self._face is not None:
            restored = self._face.upscale(restored)
            matrix = align.rescaled(matrix, crop=self.scale)
            mask = None if mask is None else cv2.resize(mask, restored.shape[:2], interpolation=cv2.INTER_LINEAR)
        original = face.given if self._is_added(face) else None
        blend.paste(picture, restored, matrix, self.blend, mask=mask, original=original, strength=self._finish.strength)

    def replace(self, picture: Image, face: RestoredFace) -> None:
        """Put a restored crop in the place of the whole `picture`, in place: the input was an aligned face already.

        Args:
            picture: the output so far, uint8 (scale * H, scale * H, 3).
            face: its mask and place mean nothing.
        """
        finish, size = self._finish, (picture.shape[1], picture.shape[0])
        restored = blend.match_color(face.restored, face.given) if finish.color_match else face.restored
        if self._face is not None:
            restored = self._face.upscale(restored)
        whole = upscale.resized(restored, size)
        if face.residual and self._face is None:
            change = cv2.subtract(whole, upscale.resized(face.given, size), dtype=cv2.CV_16S)
            whole = cv2.add(picture, change, dtype=cv2.CV_8U)
        cv2.addWeighted(whole, finish.strength, picture, 1 - finish.strength, 0, dst=picture)

    def boxed(self, picture: Image, boxes: Iterable[npt.NDArray[np.float32]], labels: Iterable[str]) -> Image:
        """Return a copy of an output picture with `boxes`, (x0, y0, x1, y1) in pixels of the input frame, drawn on it, `labels` below."""
        drawn: Image = picture.copy()
        width = max(round(BOX_WIDTH * max(picture.shape)), 1)
        for box, label in zip(boxes, labels, strict=True):
            x0, y0, x1, y1 = (round((float(value) + 0.5) * self.scale - 0.5) for value in box)
            cv2.rectangle(drawn, (x0, y0), (x1, y1), BOX_COLOR, width)
            if label:
                size = max(LABEL_SIZE * max(picture.shape), 0.3)
                cv2.putText(
                    drawn, label, (x0, y1 + round(40 * size)), cv2.FONT_HERSHEY_SIMPLEX, size, BOX_COLOR, max(width // 2, 1), cv2.LINE_AA
                )
        return drawn
