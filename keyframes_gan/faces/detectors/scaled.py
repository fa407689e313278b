"""What all detectors share: they find faces from some width on, so the picture is scaled to that, which bounds the work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.types import Detection, check_image

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import Image

WINDOW = 80
"""Width in pixels of the smallest face that dlib's detectors find."""
NEAR_FACE = 104
"""Width in pixels at which a face is shown to dlib's detectors when only its neighbourhood is searched."""
NEAR_MARGIN = 0.6
THOROUGH = 4
NEAR_SIZES = (0.5, 2.0)

Found = list[tuple[float, float, float, float, float]]


class ScaledDetector:
    """Base of a detector with a fixed window.

    The picture is scaled by `window` / `min_face`, so that the smallest wanted face just fills the window, and further down where it
    would have more than `max_pixels`: the cost per picture is bounded whatever the video's size, and in a large video the smallest
    face found grows in proportion (for dlib at 1920x1080 and half a megapixel: 163 pixels, or 82 in a thorough search).

    Boxes are square and as dlib's HOG detector draws them, whatever the detector.
    """

    window = WINDOW
    near_face = NEAR_FACE

    def __init__(self, *, min_face: int, max_pixels: int) -> None:
        least = self.window**2
        if min_face <= 0 or max_pixels < least:
            msg = f"detector: expected min_face > 0 and max_pixels >= {least}, got {min_face} and {max_pixels}"
            raise ValueError(msg)
        self.min_face = min_face
        self.max_pixels = max_pixels

    def _run(self, image: npt.NDArray[np.uint8], *, near: bool) -> Found:
        """Return x0, y0, x1, y1, score of the faces in a prepared picture."""
        raise NotImplementedError

    def _detections(self, image: npt.NDArray[np.uint8], *, near: bool) -> list[Detection]:
        """Return the faces in a prepared picture; coordinates from its top left corner, so that pixel centres are at one half."""
        return [Detection(np.array(corners, np.float32), float(score)) for *corners, score in self._run(image, near=near)]

    def _prepare(self, rgb: Image) -> npt.NDArray[np.uint8]:
        """Return the picture in the colours that `_run` wants."""
        return rgb

    def detect(self, rgb: Image, *, thorough: bool = False) -> list[Detection]:
        """Return the faces of the whole picture, best score first; boxes in pixels of `rgb` (they may reach over its border).

        A thorough search looks at up to four times `max_pixels`, and so finds faces of half the size in large pictures.
        """
        check_image(rgb, "detect: rgb")
        height, width = rgb.shape[:2]
        most = THOROUGH * self.max_pixels if thorough else self.max_pixels
        scale = min(self.window / self.min_face, float(np.sqrt(most / (width * height))))
        return self._scaled(rgb, scale, (0, 0), near=False)

    def detect_near(self, rgb: Image, box: npt.NDArray[np.float32]) -> list[Detection]:
        """Return faces that overlap `box` and have half to twice its size, best score first. Weak hits count, as one is expected."""
        check_image(rgb, "detect_near: rgb")
        height, width = rgb.shape[:2]
        face = float(max(box[2] - box[0], box[3] - box[1], 1.0))
        low = np.floor(box[:2] - NEAR_MARGIN * face).astype(int)
        high = np.ceil(box[2:] + NEAR_MARGIN * face).astype(int)
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        right, bottom = min(int(high[0]), width), min(int(high[1]), height)
        if right - left < face / 4 or bottom - top < face / 4:
            return []
        region = np.ascontiguousarray(rgb[top:bottom, left:right])
        found = self._scaled(region, self.near_face / face, (left, top), near=True)
        return [one for one in found if _fits(one.box, box, face)]

    def _scaled(self, rgb: Image, scale: float, origin: tuple[int, int], *, near: bool) -> list[Detection]:
        height, width = rgb.shape[:2]
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.ascontiguousarray(cv2.resize(self._prepare(rgb), size, interpolation=way))
        factor = np.array([width / size[0], height / size[1]])
        shift = np.array(origin) - 0.5
        found = [
            replace(
                one,
                box=(one.box * np.tile(factor, 2) + np.tile(shift, 2)).astype(np.float32),
                points=None if one.points is None else (one.points * factor + shift).astype(np.float32),
            )
            for one in self._detections(image, near=near)
        ]
        return sorted(found, key=lambda one: -one.score)


def _fits(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], face: float) -> bool:
    ratio = float(found[2] - found[0]) / face
    centre, wanted = (found[:2] + found[2:]) / 2, (expected[:2] + expected[2:]) / 2
    return NEAR_SIZES[0] <= ratio <= NEAR_SIZES[1] and bool((np.abs(centre - wanted) < 0.75 * face).all())
