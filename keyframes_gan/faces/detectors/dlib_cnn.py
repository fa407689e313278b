"""dlib's convolutional detector (max-margin object detection, King 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyframes_gan.faces.detectors.scaled import Found, ScaledDetector
from keyframes_gan.faces.dlib_models import CNN_DETECTOR, shared

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NEAR_THRESHOLD = -0.2


class CnnDetector(ScaledDetector):
    """Finds more turned and hidden faces than `dlib-hog`, many times slower on a CPU; scores up to about 1.1."""

    def __init__(self, *, min_face: int = 80, max_pixels: int = 250_000, threshold: float = 0.0, device: str = "auto") -> None:
        del device  # dlib itself was built for one
        super().__init__(min_face=min_face, max_pixels=max_pixels)
        self.threshold = threshold

    def _run(self, image: npt.NDArray[np.uint8], *, near: bool) -> Found:
        model = shared("cnn_face_detection_model_v1", CNN_DETECTOR)
        threshold = NEAR_THRESHOLD if near else self.threshold
        found = [(one.rect, float(one.confidence)) for one in model(image, 0)]
        return [(b.left(), b.top(), b.right() + 1, b.bottom() + 1, score) for b, score in found if score >= threshold]
