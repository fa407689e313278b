"""A face video from nothing: scikit-image's public-domain portrait (`skimage.data.astronaut()`, NASA), moved and zoomed smoothly.

For the demonstration, the quick benchmark and tests: it comes with an installed package, so it needs neither network nor a file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.types import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

FACE_CENTRE = (224.0, 118.0)


def portrait_clip(frames: int, size: tuple[int, int], zoom: float = 1.45) -> Iterator[Image]:
    """Yield `frames` pictures, uint8 RGB, of `size` (width, height): the portrait drifting, turning by a few degrees and coming nearer.

    `zoom` is the mean magnification; the face is about 100 px wide times `zoom`.
    """
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import, and few need it

    portrait = np.ascontiguousarray(astronaut())
    for index in range(frames):
        phase = 2.0 * math.pi * index / frames
        matrix = cv2.getRotationMatrix2D(FACE_CENTRE, 3.0 * math.sin(2.0 * phase), zoom * (1.0 + 0.17 * math.sin(phase)))
        drift = 0.057 * min(size) * math.sin(phase + 0.7), 0.036 * min(size) * math.cos(phase)
        matrix[:, 2] += [side / 2 + moved - centre for side, moved, centre in zip(size, drift, FACE_CENTRE, strict=True)]
        yield cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
