"""Bringing a key frame to the crop size of the clip it serves."""

from __future__ import annotations

import cv2
import numpy as np

from keyframes_gan.types import Reference


def fit(reference: Reference, size: int) -> Reference:
    """Return `reference` at `size` pixels a side: pictures resampled, landmarks scaled. Itself when it already is.

    Pixel centres lie on integers, so that x becomes (x + 0.5) * size / side - 0.5.
    """
    side = reference.picture.shape[0]
    if side == size:
        return reference
    way = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    landmarks = ((reference.landmarks + 0.5) * (size / side) - 0.5).astype(np.float32)
    compressed = None if reference.compressed is None else cv2.resize(reference.compressed, (size, size), interpolation=way)
    picture = cv2.resize(reference.picture, (size, size), interpolation=way)
    return Reference(picture, compressed, landmarks, reference.time)
