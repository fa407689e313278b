"""Where one shot ends and the next begins (hard cuts), from tiny pictures; about 0.2 ms per frame."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import Image

SIDE = 32
LEAST_DIFFERENCE = 16.0
"""Mean absolute difference in levels of 255 between the tiny pictures, below which nothing is a cut."""
LEAST_RATIO = 3.5
"""A cut differs at least this many times as much as frames just did: fast motion does not count."""
MOST_CORRELATION = 0.65
"""A cut leaves the tiny grey pictures at most so much correlated: a flash of light, which keeps the shapes, does not count."""
RECENT = 8
FEW = 3
ALONE_DIFFERENCE = 30.0


class CutFinder:
    """Tells for each frame of a stream whether it is the first of a new shot. Remembers one tiny picture and a few numbers."""

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float32] | None = None
        self._shape: tuple[int, ...] = ()
        self._recent: deque[float] = deque(maxlen=RECENT)

    def is_cut(self, rgb: Image) -> bool:
        """Return True when `rgb` (H, W, 3) does not continue the frame given before or differs in size. The very first frame is no cut."""
        step = max(min(rgb.shape[:2]) // (3 * SIDE), 1)
        tiny = cv2.resize(rgb[::step, ::step], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, tiny
        shape, self._shape = self._shape, rgb.shape
        if last is None:
            return False
        difference = float(np.abs(tiny - last).mean())
        least = LEAST_RATIO * float(np.median(self._recent)) if len(self._recent) >= FEW else ALONE_DIFFERENCE
        alike = difference <= max(LEAST_DIFFERENCE, least) or correlation(tiny.mean(axis=2), last.mean(axis=2)) >= MOST_CORRELATION
        cut = not alike or shape != rgb.shape
        if cut:
            self._recent.clear()
        else:
            self._recent.append(difference)
        return cut


def correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return the normalised correlation of two grey pictures of one shape, -1 to 1; near 0 when one is flat."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).mean() / ((a.std() + 4) * (b.std() + 4)))
