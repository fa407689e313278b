"""The identity guard: a restored face that no longer looks like the person is blended back towards the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.faces.identity import embed, similarity

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import FaceClip, FloatArray, Image, Points

CHECK_EVERY = 5
STRENGTHS = (1.0, 0.75, 0.5, 0.25)


class IdentityGuard:
    """Judges the restored frames of one person, in order.

    The middle one of every `CHECK_EVERY` frames is compared with its input (cosine similarity of dlib's identities, in the crop).
    The greatest of `STRENGTHS` whose blend is alike enough holds there, 0 when none is; in between it changes evenly.

    Args:
        least: the similarity that is needed, 0 to 1.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._last: tuple[int, float] | None = None

    def strengths(self, clip: FaceClip, restored: npt.NDArray[np.uint8]) -> FloatArray:
        """Return how much of each restored frame to show, float32 (T,) in [0, 1]; those of context and frames ahead mean nothing."""
        first, end = clip.context, len(clip) - clip.ahead
        places = [min(start + CHECK_EVERY // 2, end - 1) for start in range(first, end, CHECK_EVERY)]
        checked = [(clip.first + place, self._strength(restored[place], clip.crops[place], clip.landmarks[place])) for place in places]
        known = checked if self._last is None or self._last[0] >= checked[0][0] else [self._last, *checked]
        self._last = checked[-1]
        indices, values = zip(*known, strict=True)
        strengths: FloatArray = np.interp(clip.first + np.arange(len(clip)), indices, values).astype(np.float32)
        strengths[:first] = 1
        return strengths

    def _strength(self, restored: Image, given: Image, points: Points) -> float:
        wanted = embed(given, points)
        for strength in STRENGTHS:
            if similarity(wanted, embed(weakened(restored, given, strength), points)) >= self._least:
                return strength
        return 0.0


def weakened(restored: Image, given: Image, strength: float) -> Image:
    """Return `strength` of the restored crop and the rest of the given one."""
    if strength == 1:
        return restored
    mixed: Image = cv2.addWeighted(restored, strength, given, 1 - strength, 0)
    return mixed
