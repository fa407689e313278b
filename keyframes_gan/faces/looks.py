"""How a face looks, how its picture is found again in the next frame, and whether what was found can be that face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.faces.align import CropSpec, crop, rescaled
from keyframes_gan.faces.landmarks import box_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import Image, Matrix, Points

LOOK_SIDE = 32
TEMPLATE_SIDE = 24
SEARCH = 12
TEMPLATE_LIKE = 0.6
"""A face is looked for up to 12/24 of its width from where its motion would take it; the match must correlate so well."""
SIZE_RATIO = 1.3
JUMP = 0.35
"""Plausible from one frame to the next: at most this growth, and this shift from the expected place in face widths."""


def overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return intersection over union of two boxes (x0, y0, x1, y1), 0 to 1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    common = float(sides.prod())
    return common / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - common)


def appearance(rgb: Image, points: Points) -> npt.NDArray[np.float32]:
    """Return the aligned face as a tiny grey picture, float32 (32, 32): what tracks are told apart by."""
    return _tiny(rgb, CropSpec("eyes", LOOK_SIDE).to_crop(points), LOOK_SIDE)


def _tiny(rgb: Image, to_tiny: Matrix, side: int) -> npt.NDArray[np.float32]:
    """Return a grey picture, float32 (side, side), cut out three times as large and averaged down."""
    large = crop(rgb, rescaled(to_tiny, crop=3), 3 * side, interpolation=cv2.INTER_LINEAR, antialias=False)
    small: npt.NDArray[np.uint8] = cv2.resize(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def template(rgb: Image, box: npt.NDArray[np.float32], margin: int = 0) -> npt.NDArray[np.float32]:
    """Return the face in `box` as it stands in the picture, 24 pixels wide, with `margin` such pixels more on every side."""
    scale = TEMPLATE_SIDE / float(box[2] - box[0])
    shift = TEMPLATE_SIDE / 2 - 0.5 + margin - scale * (box[:2] + box[2:]).astype(np.float64) / 2
    return _tiny(rgb, np.column_stack([scale * np.eye(2), shift]), TEMPLATE_SIDE + 2 * margin)


def moved_on(box: npt.NDArray[np.float32], face: npt.NDArray[np.float32], rgb: Image) -> npt.NDArray[np.float32]:
    """Return the box in which a face is expected in a new frame.

    Args:
        box: where its steady motion takes it. That counts, unless the face is better found more than one template pixel from there (a
            sudden move).
        face: its `template` in the frame before.
        rgb: the new frame.
    """
    match = cv2.matchTemplate(template(rgb, box, SEARCH), face, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(match)
    shift = np.array([x - SEARCH, y - SEARCH])
    if best < TEMPLATE_LIKE or np.abs(shift).max() <= 1:
        return box
    cell = float(box[2] - box[0]) / TEMPLATE_SIDE
    return (box + np.tile(shift * cell, 2)).astype(np.float32)


def plausible(expected: npt.NDArray[np.float32], points: Points, rgb: Image) -> bool:
    """Tell whether landmarks lie in the picture, and about where and as large as expected."""
    got = box_of(points)
    width, now = float(expected[2] - expected[0]), float(got[2] - got[0])
    shift = np.abs((got[:2] + got[2:]) - (expected[:2] + expected[2:])) / 2
    x, y = points.mean(axis=0)
    inside = 0 <= x < rgb.shape[1] and 0 <= y < rgb.shape[0]
    return bool(inside and 1 / SIZE_RATIO < now / width < SIZE_RATIO and (shift < JUMP * width).all())
