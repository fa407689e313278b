"""68 facial landmarks (iBUG 300-W order) by an ensemble of regression trees (Kazemi and Sullivan, CVPR 2014; dlib's model).

dlib's predictor answers in whole pixels and compares single pixels, so that its answer jumps with noise and with the box it starts
from. Here the face is first brought, antialiased and upright, to one size, and the answers from a few slightly moved boxes are averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.faces.align import bounds, box_of, crop, invert, rescaled, roll_of, scale_of, shifted, transform_points
from keyframes_gan.faces.dlib_models import LANDMARKS_68, shared

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import Image, Matrix, Points

__all__ = ["Landmarker", "box_of", "roll_of"]

PATCH = 288
FACE_IN_PATCH = 144
BOXES = ((0.0, 0.0, 1.0), (0.03, 0.02, 1.03), (-0.03, 0.02, 0.97), (0.02, -0.03, 0.98), (-0.02, -0.03, 1.04))
"""Shift (x, y, as parts of the box) and relative size of the boxes whose answers are averaged."""


class Landmarker:
    """Places 68 points on a face whose box is known. The model is loaded with the first face.

    Args:
        boxes: how many moved boxes to average, 1 to 5; about 0.5 ms each.
    """

    def __init__(self, boxes: int = 3) -> None:
        if not 1 <= boxes <= len(BOXES):
            msg = f"Landmarker: expected 1 to {len(BOXES)} boxes, got {boxes}"
            raise ValueError(msg)
        self._boxes = BOXES[:boxes]

    def points(self, rgb: Image, box: npt.NDArray[np.float32], *, angle: float = 0.0, rounds: int = 1) -> Points:
        """Return the landmarks of one face, float32 (68, 2), in pixels of `rgb`.

        Args:
            rgb: the picture, uint8 (H, W, 3).
            box: x0, y0, x1, y1 of the face as dlib's HOG detector would draw it.
            angle: roll of the face in radians, clockwise positive, when it is known.
            rounds: with 2 or more, the box and the roll that the landmarks give start another round: for boxes of other detectors.
        """
        points = self._once(rgb, box, angle)
        for _ in range(rounds - 1):
            points = self._once(rgb, box_of(points), roll_of(points))
        return points

    def _once(self, rgb: Image, box: npt.NDArray[np.float32], angle: float) -> Points:
        import dlib  # noqa: PLC0415 - only when the first face comes

        predict = shared("shape_predictor", LANDMARKS_68)
        to_patch = _patch_matrix(box, angle)
        patch = _patch(rgb, to_patch)
        total = np.zeros((68, 2), np.float64)
        for shift_x, shift_y, size in self._boxes:
            half = 0.5 * FACE_IN_PATCH * size
            x, y = (0.5 * PATCH + shift * FACE_IN_PATCH for shift in (shift_x, shift_y))
            shape = predict(patch, dlib.rectangle(round(x - half), round(y - half), round(x + half), round(y + half)))
            total += [(part.x, part.y) for part in shape.parts()]
        return transform_points(total / len(self._boxes), invert(to_patch))


def _patch_matrix(box: npt.NDArray[np.float32], angle: float) -> Matrix:
    """Return the (2, 3) matrix that brings `box`, turned by -`angle`, to the middle of the patch."""
    centre = (box[:2].astype(np.float64) + box[2:]) / 2
    scale = FACE_IN_PATCH / max(float(np.mean(box[2:] - box[:2])), 1.0)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([linear, 0.5 * PATCH - linear @ centre])


def _patch(rgb: Image, to_patch: Matrix) -> npt.NDArray[np.uint8]:
    """Return the grey patch; a large face is first shrunk by a whole number, so that no pixel is passed over."""
    shrink = int(1 / scale_of(to_patch))
    matrix = to_patch
    if shrink > 1:
        left, top, right, bottom = bounds(to_patch, PATCH, rgb.shape, margin=shrink)
        width, height = (right - left) // shrink, (bottom - top) // shrink
        if width > 0 and height > 0:
            region = rgb[top : top + height * shrink, left : left + width * shrink]
            rgb = cv2.resize(region, (width, height), interpolation=cv2.INTER_AREA)
            matrix = rescaled(shifted(to_patch, left, top), frame=1 / shrink)
    patch = crop(rgb, matrix, PATCH, interpolation=cv2.INTER_LINEAR, antialias=False, border="black")
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    return grey
