"""What a face is judged by: its width, its sharpness and its noise.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) at one scale, so that faces of all sizes compare. Noise raises
it (white noise of variance v by 20 v), so the noise is estimated on the pixels as they are, by the kernel of Immerkaer (CVIU 1996), which
edges and slopes hardly move, and the median (Donoho and Johnstone, Biometrika 1994); what noise of that strength becomes at that scale
is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.faces.align import box_of, scale_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import Image, Matrix, Points

SCALE_PX = 100
"""Width of the face in pixels at which sharpness is measured: that of the narrowest faces of which it is asked."""
KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
KERNEL_NORM = 6.0
MEDIAN_TO_SIGMA = 0.6745
LEAST_SIDE = 8
"""Faces that show fewer pixels in a direction have no sharpness and no noise."""


@dataclass(frozen=True)
class Look:
    """One face in one frame: `width` in pixels of the frame, `sharpness` without noise, `noise` as standard deviation in levels of 255."""

    width: float
    sharpness: float
    noise: float


def look(crop: Image, to_crop: Matrix, landmarks: Points) -> Look:
    """Measure the face in a crop.

    Args:
        crop: uint8 (S, S, 3); noise is told best when its pixels are those of the frame.
        to_crop: (2, 3), frame to crop pixels.
        landmarks: float32 (68, 2) in crop pixels.
    """
    box = box_of(landmarks)
    side = float(box[2] - box[0])
    width = side / scale_of(to_crop)
    left, top, right, bottom = (int(value) for value in np.rint(np.clip(box, 0, len(crop))))
    if min(right - left, bottom - top) < LEAST_SIDE:
        return Look(width, 0.0, 0.0)
    luma = cv2.cvtColor(crop[top:bottom, left:right], cv2.COLOR_RGB2GRAY).astype(np.float32)
    factor, noise = SCALE_PX / round(side), noise_of(luma)
    sharpness = _laplacian_variance(_scaled(luma, factor)) - _noise_gain(luma.shape, factor) * noise**2
    return Look(width, max(sharpness, 0.0), noise)


def noise_of(luma: npt.NDArray[np.float32]) -> float:
    """Return the standard deviation of white noise in a picture (H, W), in its own levels."""
    answers = cv2.filter2D(luma, cv2.CV_32F, KERNEL)[1:-1, 1:-1]
    return float(np.median(np.abs(answers))) / (MEDIAN_TO_SIGMA * KERNEL_NORM)


def _scaled(luma: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    size = tuple(max(round(side * factor), 1) for side in luma.shape[::-1])
    done: npt.NDArray[np.float32] = cv2.resize(luma, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return done


def _laplacian_variance(luma: npt.NDArray[np.float32]) -> float:
    return float(cv2.Laplacian(luma, cv2.CV_32F)[1:-1, 1:-1].var())


@lru_cache(maxsize=256)
def _noise_gain(shape: tuple[int, ...], factor: float) -> float:
    """Return what white noise of variance 1 in a picture of `shape` adds to the sharpness measured after scaling by `factor`."""
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    return _laplacian_variance(_scaled(noise, factor))
