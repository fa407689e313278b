"""What other frames know of a compressed face, moved onto it by optical flow: the guides of `archs.keyframe_flow_arch.KeyframeFlowNet`.

Flow is dense inverse search (Kroeger et al., ECCV 2016) between pictures as the stream showed them. Compression leaves alike marks on
both, so that it finds its way where a good and a bad picture would not match; a photo, of which there is no compressed version, is matched
as it is. Fields are float32 (H, W, 2), pixels to the right and down: where in the other picture to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from archs.keyframe_flow_arch import AHEAD, KEY_CHANNELS
from keyframes_gan.types import FloatArray, Image

TRUST_PX2 = 2.0
"""Squared distance in pixels, between where a flow leads and where the flow back comes from, at which trust has fallen to 1/e."""
FULL = 255
UNIT = np.float32(1 / FULL)
PIXEL = np.uint32
"""Three colours and a flag in one number, quicker to copy than four."""
Window = tuple[slice, slice]
"""Rows and columns of the part that is wanted; flow is found on the whole all the same."""
WHOLE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Key:
    """A good picture of the person, aligned as the crops it serves.

    Attributes:
        picture: uint8 RGB (S, S, 3).
        compressed: the same picture as the stream showed it; None for a photo.
    """

    picture: Image
    compressed: Image | None


class FlowGuides:
    """Finds flows and moves pictures by them. Not to be shared between threads: the search keeps its buffers."""

    def __init__(self) -> None:
        # OpenCV has no type information. "Fast" is as good as "medium" here, in a fifth of its time (benchmarks/bench_flow.py).
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def flow(self, picture: Image, other: Image) -> FloatArray:
        """Return where in `other` to look for every pixel of `picture`; both uint8 RGB (H, W, 3), at least 16 pixels a side."""
        return self._between(_grey(picture), _grey(other))

    def _between(self, picture: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> FloatArray:
        field: FloatArray = self._search.calc(picture, other, None)
        return field

    def key(self, crop: Image, key: Key, window: Window = WHOLE) -> FloatArray:
        """Return what a key frame tells about `crop`.

        Args:
            crop: uint8 RGB (H, W, 3), the compressed face.
            key: pictures of the size of `crop`.
            window: of `crop`.

        Returns:
            float32 (H, W, 7), H and W of the window: coding residual of the key frame in [-1, 1] (zeros when it has no `compressed`), key
            frame minus `crop`, and trust in [0, 1], all on the grid of `crop`.
        """
        shown = key.picture if key.compressed is None else key.compressed
        here, there = _grey(crop), _grey(shown)
        field, back = self._between(here, there), self._between(there, here)
        wanted = crop[window]
        guide = np.zeros((*wanted.shape[:2], KEY_CHANNELS), np.float32)
        if key.compressed is not None:
            guide[..., :3] = moved(_difference(key.picture, key.compressed), field, window)
        guide[..., 3:6] = _difference(moved(key.picture, field, window), wanted)
        guide[..., 6] = trust(field, back, window)
        return guide

    def following(self, crop: Image, frames: Sequence[Image], window: Window = WHOLE) -> FloatArray:
        """Return what the next compressed frames tell about `crop`: float32 (H, W, 4 AHEAD) of the window, as the network takes it.

        Args:
            crop: uint8 RGB (H, W, 3), the compressed face.
            frames: those after it, the nearest first; `AHEAD` of them count, and fewer will do.
            window: of `crop`.
        """
        here, absent = _grey(crop), _flagged(crop[window], 0)
        unknown = np.repeat(absent.view(PIXEL), AHEAD, axis=2)
        shown = unknown.copy()
        for number, frame in enumerate(frames[:AHEAD]):
            shown[..., number] = moved(_flagged(frame, FULL), self._between(here, _grey(frame)), window).view(PIXEL)[..., 0]
        return _difference(shown.view(np.uint8), unknown.view(np.uint8))


def moved(picture: npt.NDArray[Any], field: FloatArray, window: Window = WHOLE) -> npt.NDArray[Any]:
    """Return `picture` (H, W, C), uint8 or float32, fetched (bilinear, the border repeated) from where the window of `field` points."""
    sources = _grid(*field.shape[:2])[window] + field[window]
    return np.asarray(cv2.remap(picture, sources, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def trust(field: FloatArray, back: FloatArray, window: Window = WHOLE) -> FloatArray:
    """Return how far going there by `field` and returning by `back` leads home: float32, 1 for exactly, falling to 0, for the window."""
    missed = np.square(field[window] + moved(back, field, window)).sum(axis=2)
    return np.asarray(np.exp(missed * np.float32(-1 / TRUST_PX2)), np.float32)


def _difference(picture: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> FloatArray:
    """Return `picture` minus `other`, both uint8, in units of 255."""
    difference: FloatArray = cv2.subtract(picture, other, dtype=cv2.CV_32F)
    difference *= UNIT
    return difference


def _flagged(picture: Image, flag: int) -> npt.NDArray[np.uint8]:
    """Return `picture` with a fourth channel, uint8 (H, W, 4), which is `flag` everywhere."""
    with_alpha = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA), np.uint8)
    with_alpha[..., 3] = flag
    return with_alpha


def _grey(picture: Image) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> FloatArray:
    """Return where every pixel lies: (H, W, 2), to the right and down."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)
