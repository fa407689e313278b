"""The identity guard: a restored face that no longer looks like the person is blended back towards the input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from keyframes_gan.faces.identity import embed, similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from keyframes_gan.types import Decision, FaceClip, FloatArray, Image, Points

CHECK_EVERY = 12
"""Frames from one comparison of a person to the next: two identities, some 50 ms, each time."""
STRENGTHS = (1.0, 0.75, 0.5, 0.25)
STEP = 0.125
"""A person's strength changes by so much from frame to frame at most."""


@dataclass
class Likeness:
    """How alike restored faces are to their inputs: the number of comparisons, the sum and the least of their results."""

    compared: int = 0
    total: float = 0.0
    least: float = 1.0

    def add(self, identity: float) -> None:
        """Take the cosine similarity of one restored face to its input."""
        self.compared += 1
        self.total += identity
        self.least = min(self.least, identity)

    def as_json(self) -> dict[str, Any] | None:
        """Return plain JSON values, None where nothing was compared."""
        if not self.compared:
            return None
        return {"compared": self.compared, "mean": round(self.total / self.compared, 4), "min": round(self.least, 4)}


@dataclass(frozen=True)
class Judgement:
    """What to do with the frames of a clip.

    `strengths` float32 (T,) in [0, 1]: how much of each restored frame to show; those of context, frames ahead and faces that were left
    mean nothing. `identities`: by the frame's place in the clip, how alike what is shown is to the input, where that was measured.
    """

    strengths: FloatArray
    identities: dict[int, float] = field(default_factory=dict)


class IdentityGuard:
    """Judges the restored frames of one person, in order.

    Compared with its input (cosine similarity of dlib's identities, in the crop) is the first restored frame, every `CHECK_EVERY`th from
    there on, and the first of another expert. The greatest of `STRENGTHS` whose blend is alike enough holds until the next comparison, 0
    when none is; the strength of the frames goes there by `STEP`, in a clip from its beginning.

    Args:
        least: the similarity that is needed, 0 to 1.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._strength, self._wanted = 1.0, 1.0
        self._next, self._due, self._expert = -1, -1, ""

    def judge(self, clip: FaceClip, restored: npt.NDArray[np.uint8], decisions: Sequence[Decision | None]) -> Judgement:
        """Return what to do with the frames of a clip; `decisions` (T): which of them were restored, and by whom; None: all by the same."""
        strengths = np.ones(len(clip), np.float32)
        begins: set[int] = set()
        found: dict[int, tuple[float, float]] = {}
        frames = [at for at in range(clip.context, len(clip) - clip.ahead) if not _is_left(decisions[at])]
        for at in frames:
            index, decision = clip.first + at, decisions[at]
            expert = "" if decision is None else decision.expert
            if index != self._next:
                begins.add(at)
            if at in begins or expert != self._expert or index >= self._due:
                found[at] = self._compared(restored[at], clip.crops[at], clip.landmarks[at])
                self._due = index + CHECK_EVERY
            self._next, self._expert = index + 1, expert
        for at in frames:
            coming = next((place for place in found if place >= at), None)
            if coming is not None:
                self._wanted = found[coming][0]
            missing = self._wanted - self._strength
            self._strength += missing if at in begins else min(max(missing, -STEP), STEP)
            strengths[at] = self._strength
        return Judgement(strengths, {at: identity for at, (_, identity) in found.items()})

    def _compared(self, restored: Image, given: Image, points: Points) -> tuple[float, float]:
        """Return the strength that a face needs, and how alike it then is."""
        wanted = embed(given, points)
        for strength in STRENGTHS:
            alike = similarity(wanted, embed(weakened(restored, given, strength), points))
            if alike >= self._least:
                return strength, alike
        return 0.0, 1.0


def _is_left(decision: Decision | None) -> bool:
    return decision is not None and decision.left


def weakened(restored: Image, given: Image, strength: float) -> Image:
    """Return `strength` of the restored crop and the rest of the given one."""
    if strength == 1:
        return restored
    mixed: Image = cv2.addWeighted(restored, strength, given, 1 - strength, 0)
    return mixed
