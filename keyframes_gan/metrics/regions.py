"""Parts of pictures: boxes around faces, masks of their union, the crops inside them.

A box is (x0, y0, x1, y1) in whole pixels, ends excluded, inside the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from keyframes_gan.metrics.kinds import Box, Picture

SIDE_MARGIN, TOP_MARGIN, CHIN_MARGIN = 0.1, 0.35, 0.1


def face_box(points: npt.NDArray[np.float32], width: int, height: int) -> Box | None:
    """Return the box of a face from its landmarks (N, 2) in pixels of a `width` x `height` picture, None when outside it.

    The landmarks' bounding box grows by 10 % of its width on each side, 10 % of its height below and 35 % above, for the forehead.
    """
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    side, up, down = SIDE_MARGIN * (x1 - x0), TOP_MARGIN * (y1 - y0), CHIN_MARGIN * (y1 - y0)
    left, top = max(0, int(np.floor(x0 - side))), max(0, int(np.floor(y0 - up)))
    right, bottom = min(width, int(np.ceil(x1 + side)) + 1), min(height, int(np.ceil(y1 + down)) + 1)
    return (left, top, right, bottom) if left < right and top < bottom else None


def mask_of(boxes: Sequence[Box], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return a bool mask (H, W), True inside any of the boxes; `shape` begins with (H, W)."""
    mask = np.zeros(shape[:2], np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def large_enough(boxes: Sequence[Box], minimum_px: int) -> list[Box]:
    """Return the boxes with both sides of at least `minimum_px`."""
    return [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= minimum_px]


def mean_over_crops(
    measure: Callable[[Picture, Picture], float], original: Picture, picture: Picture, boxes: Sequence[Box] | None, minimum_px: int
) -> float | None:
    """Return `measure(original, picture)`, or its mean over the boxes' crops weighted by their area.

    None where the picture, or every box, has a side shorter than `minimum_px`.
    """
    whole: list[Box] = [(0, 0, picture.shape[1], picture.shape[0])]
    chosen = large_enough(whole if boxes is None else boxes, minimum_px)
    if not chosen:
        return None
    areas = np.asarray([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in chosen], np.float64)
    values = [
        measure(np.ascontiguousarray(original[y0:y1, x0:x1]), np.ascontiguousarray(picture[y0:y1, x0:x1])) for x0, y0, x1, y1 in chosen
    ]
    return float(np.average(values, weights=areas))
