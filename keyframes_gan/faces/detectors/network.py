"""What the detectors share that are PyTorch networks: weights by name, thresholds, suppression of doubles, boxes from five points."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from keyframes_gan.faces.detectors.scaled import ScaledDetector
from keyframes_gan.faces.networks import load_network
from keyframes_gan.types import Detection

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

BOX_WIDTH = 3.81
BOX_RISE = 0.05
"""dlib's HOG box in units of the five points' spread: its width (medians of 56 faces, deviation 2.5 %), and how far its centre lies
above their mean."""
NARROWEST = 0.8
"""The box is at least this part of the network's own box wide: in profile the five points come close together."""

Guesses = tuple["npt.NDArray[np.float32]", "npt.NDArray[np.float32]", "npt.NDArray[np.float32]"]
"""Boxes (N, 4) as x0, y0, x1, y1; scores (N,) in [0, 1]; points (N, 5, 2): eyes, nose, corners of the mouth."""


class NetworkDetector(ScaledDetector):
    """Base of a detector that is a network of `archs`; scores are probabilities.

    Args:
        min_face: width in pixels of the smallest face that matters.
        max_pixels: the picture is scaled down to at most so many pixels; four times as many in a thorough search.
        threshold: least score; a lower one, `near_threshold`, is enough where a face is expected.
        weights_from: a name of the manifest or a file; the detector's own published weights by default.
        device: "cpu", "cuda", ...; "auto" for a GPU where there is one.
    """

    window = 32
    near_face = 96
    weights_name = ""
    overlap = 0.4
    near_threshold = 0.3

    def __init__(
        self,
        *,
        min_face: int = 64,
        max_pixels: int = 500_000,
        threshold: float = 0.8,
        weights_from: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(min_face=min_face, max_pixels=max_pixels)
        self.threshold = threshold
        self._weights_from = weights_from
        self._device_name = device

    @cached_property
    def _network(self) -> tuple[torch.nn.Module, torch.device]:
        return load_network(self.weights_name, self._weights_from, self._device_name)

    def _guess(self, image: npt.NDArray[np.uint8], threshold: float) -> Guesses:
        """Return what the network sees in a prepared picture with at least the score `threshold`, doubles included."""
        raise NotImplementedError

    def _output(self, picture: npt.NDArray[np.float32]) -> Any:  # noqa: ANN401 - what it is depends on the network
        """Return the network's output for one picture (H, W, 3), which goes in as (1, 3, H, W)."""
        import torch  # noqa: PLC0415 - only when the first picture comes

        network, device = self._network
        with torch.inference_mode():
            return network(torch.from_numpy(picture).to(device).permute(2, 0, 1)[None])

    def _detections(self, image: npt.NDArray[np.uint8], *, near: bool) -> list[Detection]:
        boxes, scores, points = self._guess(image, self.near_threshold if near else self.threshold)
        kept = suppress(boxes, scores, self.overlap)
        return [Detection(box_around(points[one], boxes[one]), float(scores[one]), points[one]) for one in kept]


def padded(image: npt.NDArray[np.uint8], step: int, fill: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return the picture with sides that are multiples of `step`, `fill` added on the right and below: coordinates stay."""
    right, below = -image.shape[1] % step, -image.shape[0] % step
    done: npt.NDArray[np.uint8] = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=fill)
    return done


def suppress(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], overlap: float) -> list[int]:
    """Return the indices of the best boxes, best first, that overlap no better one by more than `overlap` (intersection over union)."""
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[order, :2], boxes[best, :2])
        high = np.minimum(boxes[order, 2:], boxes[best, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        order = order[common <= overlap * (areas[order] + areas[best] - common)]
    return kept


def box_around(points: npt.NDArray[np.float32], own: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the float32 (4,) box that dlib's HOG detector would draw.

    Args:
        points: (5, 2), eyes, nose, corners of the mouth.
        own: (4,), the network's box.
    """
    mean = points.mean(axis=0)
    spread = float(np.sqrt(((points - mean) ** 2).sum(axis=1).mean()))
    right = points[1] - points[0]
    angle = float(np.arctan2(right[1], right[0]))
    centre = mean + BOX_RISE * spread * np.array([np.sin(angle), -np.cos(angle)])
    half = max(0.5 * BOX_WIDTH * spread, 0.5 * NARROWEST * float(own[2] - own[0]))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
