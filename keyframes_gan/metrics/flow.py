"""Optical flow between neighbouring pictures, and which pixels have a counterpart in the picture before.

Flow: OpenCV's dense inverse search (Kroeger et al., ECCV 2016), medium preset, on grey pictures. Occlusion by forward-backward
consistency, and motion boundaries: Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos", GCPR 2016, as Lai et al. (ECCV
2018) use them for the warping error.

Convention: a flow is float32 (H, W, 2), displacement in pixels, x to the right, y down, on the grid of the picture it starts from.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.metrics.clips import Frames, Strip
from keyframes_gan.metrics.kinds import Picture

Flow = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MINIMUM_PX = 24
"""Smaller pictures have no flow: the search works on blocks of 8 pixels at three scales at least."""
CONSISTENCY_SHARE, CONSISTENCY_PX2 = 0.01, 0.5
BOUNDARY_SHARE, BOUNDARY_PX2 = 0.01, 0.002


@cache
def _search() -> Any:  # noqa: ANN401  # OpenCV has no type information
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def flow(start: Picture, end: Picture) -> Flow:
    """Return the flow from `start` to `end`, both RGB (H, W, 3) of at least 24 pixels a side."""
    one, two = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (start, end))
    found: Flow = _search().calc(one, two, None)
    return found


def to_before(strip: Strip) -> list[Flow | None]:
    """Return per picture the flow to the picture before it; None for the first of a clip, and for pictures that are too small."""
    return strip.once("flow to before", lambda: [_between(picture, before) for before, picture in strip.steps()])


def from_before(strip: Strip) -> list[Flow | None]:
    """Return per picture the flow from the picture before it to it; None as for `to_before`."""
    return strip.once("flow from before", lambda: [_between(before, picture) for before, picture in strip.steps()])


def _between(start: Picture | None, end: Picture | None) -> Flow | None:
    if start is None or end is None or min(start.shape[:2]) < MINIMUM_PX:
        return None
    return flow(start, end)


def visible(frames: Frames, index: int) -> Mask | None:
    """Return which pixels of the original's frame `index` show something that the frame before shows too, bool (H, W).

    None where the frame does not continue the one before, or is too small for a flow.
    """
    backward = to_before(frames.original)[index]
    if backward is None or not frames.continues(index):
        return None
    forward = from_before(frames.original)[index]
    return None if forward is None else frames.original.once(("visible", index), lambda: consistent(backward, forward))


def consistent(backward: Flow, forward: Flow) -> Mask:
    """Return where both flows agree, away from motion boundaries and from what lies outside the picture before, bool (H, W).

    Args:
        backward: from a picture to the one before it.
        forward: from the one before to the picture.
    """
    returned, inside = fetched(forward, backward)
    error = np.square(backward + returned).sum(axis=2)
    length = np.square(backward).sum(axis=2)
    agree = error <= CONSISTENCY_SHARE * (length + np.square(returned).sum(axis=2)) + CONSISTENCY_PX2
    slopes = sum(np.square(slope) for part in (0, 1) for slope in np.gradient(backward[..., part]))
    mask: Mask = inside & agree & (slopes <= BOUNDARY_SHARE * length + BOUNDARY_PX2)
    return mask


def fetched(source: npt.NDArray[Any], backward: Flow) -> tuple[npt.NDArray[np.float32], Mask]:
    """Return `source` (H, W, C), sampled (bilinear) where `backward` points to, as float32, and which pixels lie inside it."""
    height, width = backward.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    taken: npt.NDArray[np.float32] = cv2.remap(source.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return taken, (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
