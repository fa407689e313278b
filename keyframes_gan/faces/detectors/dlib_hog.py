"""dlib's detector on histograms of oriented gradients (Dalal and Triggs, CVPR 2005; max-margin training, King 2015)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import cv2

from keyframes_gan.faces.detectors.scaled import Found, ScaledDetector

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from keyframes_gan.types import Image

NEAR_THRESHOLD = -0.4
"""Score that is enough where a face is expected; 0 is enough anywhere."""


_made = threading.local()


class HogDetector(ScaledDetector):
    """Frontal and half-turned faces, about 15 ms per half megapixel on one CPU core; scores from 0 (weak) to about 3."""

    def __init__(self, *, min_face: int = 64, max_pixels: int = 500_000, threshold: float = 0.0, device: str = "auto") -> None:
        del device  # dlib itself was built for one
        super().__init__(min_face=min_face, max_pixels=max_pixels)
        self.threshold = threshold

    def _prepare(self, rgb: Image) -> npt.NDArray[np.uint8]:
        grey: npt.NDArray[np.uint8] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        return grey

    def _run(self, image: npt.NDArray[np.uint8], *, near: bool) -> Found:
        boxes, scores, _ = _model().run(image, 0, NEAR_THRESHOLD if near else self.threshold)
        return [(b.left(), b.top(), b.right() + 1, b.bottom() + 1, score) for b, score in zip(boxes, scores, strict=True)]


def _model() -> Any:  # noqa: ANN401 - dlib has no type information
    """Return this thread's own detector, which takes half a second to make. Used in two threads at once, dlib's ends the process."""
    import dlib  # noqa: PLC0415 - only when the first picture comes

    if not hasattr(_made, "model"):
        _made.model = dlib.get_frontal_face_detector()
    return _made.model
