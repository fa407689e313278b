"""YOLO5Face (Qi et al., 2021; `archs.yolov5_face_arch`): fast, with five points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keyframes_gan.faces.detectors.network import Guesses, NetworkDetector, padded

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

STEP = 32
GREY = (114, 114, 114)
"""What the picture is filled up with, as in training."""


class YOLOv5Detector(NetworkDetector):
    """Base of the two sizes; scores are objectness times probability of a face, which stay below RetinaFace's."""

    overlap = 0.5

    def __init__(
        self,
        *,
        min_face: int = 64,
        max_pixels: int = 500_000,
        threshold: float = 0.6,
        weights_from: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(min_face=min_face, max_pixels=max_pixels, threshold=threshold, weights_from=weights_from, device=device)

    def _guess(self, image: npt.NDArray[np.uint8], threshold: float) -> Guesses:
        filled = padded(image, STEP, GREY).astype(np.float32) / np.float32(255)
        rows = self._output(filled)[0].float().cpu().numpy()
        return split(rows, threshold)


class YOLOv5n(YOLOv5Detector):
    """The small size: 3.4 GMACs per half megapixel."""

    weights_name = "yolov5n_face"


class YOLOv5l(YOLOv5Detector):
    """The large size: more small faces, 68 GMACs per half megapixel; for a GPU."""

    weights_name = "yolov5l_face"


def split(rows: npt.NDArray[np.float32], threshold: float) -> Guesses:
    """Return boxes, scores and points of the rows (R, 16) of `archs.yolov5_face_arch.YOLOv5Face` with at least this score."""
    scores = rows[:, 4] * rows[:, 15]
    likely = np.flatnonzero(scores >= threshold)
    centre, half = rows[likely, :2], 0.5 * rows[likely, 2:4]
    return np.concatenate([centre - half, centre + half], axis=1), scores[likely], rows[likely, 5:15].reshape(-1, 5, 2)
