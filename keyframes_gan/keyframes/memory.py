"""A small bank of reference pictures of one person, and the choice of the one that fits a frame best.

The policy `lfu` follows Keyframes-GAN (Agnolucci et al., "Perceptual Quality Improvement in Videoconferencing using Keyframes-based
GAN", IEEE TMM 2023): the entry with the nearest landmarks serves a frame and is counted; when a new key frame finds the bank full, the
entry with the smallest counter leaves, and all counters are halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keyframes_gan.types import Points, Reference, check_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

POLICIES = ("lfu", "lru", "all")


@dataclass
class _Slot:
    key: Hashable
    original: Reference
    reference: Reference
    landmarks: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    pinned: bool
    usage: float = 0.0
    touched: int = 0


class KeyframeMemory:
    """At most `capacity` references, oldest first.

    Args:
        capacity: How many references are kept, at least 1; pinned ones come on top. Policy `all` has no limit and ignores it.
        policy: `lfu` drops the least used entry (first one on a tie) and halves the counters at every new key frame;
            `lru` drops the entry that was added or chosen the longest time ago; `all` drops nothing, so memory grows with the clip.

    Raises:
        ValueError: `capacity` below 1, or an unknown policy.

    With policy `lfu` and capacity 1 the entry is replaced at every key frame and its counter is neither reset nor halved, as in the
    published method; this changes nothing that a caller can see but `usage`.
    """

    def __init__(self, capacity: int, policy: str = "lfu") -> None:
        if policy not in POLICIES:
            msg = f"key-frame policy: expected one of {', '.join(POLICIES)}, got {policy!r}"
            raise ValueError(msg)
        if capacity < 1:
            msg = f"key-frame memory: expected a capacity of at least 1, got {capacity}"
            raise ValueError(msg)
        self.capacity = capacity
        self.policy = policy
        self._slots: list[_Slot] = []
        self._clock = 0
        self._fitted: Callable[[Reference], Reference] = _unchanged

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """The keys of the stored references, in slot order."""
        return tuple(slot.key for slot in self._slots)

    @property
    def usage(self) -> tuple[float, ...]:
        """The counters, in slot order."""
        return tuple(slot.usage for slot in self._slots)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The stored references, in slot order."""
        return tuple(slot.reference for slot in self._slots)

    def add(self, reference: Reference, key: Hashable, *, pinned: bool = False) -> Hashable | None:
        """Store a new reference and return the key of the one that had to leave, or None.

        Add a key frame before calling `choose` for that same frame.

        Args:
            reference: The picture and its landmarks in crop pixels; fitted as `fit` was told last.
            key: What the caller knows it by, for instance the frame index.
            pinned: Never dropped and not counted against the capacity: for photos that the user gave. Does not touch the counters.
        """
        self._clock += 1
        fitted = self._fitted(reference)
        slot = _Slot(key, reference, fitted, fitted.landmarks.astype(np.float64), pinned, touched=self._clock)
        if pinned:
            self._slots.append(slot)
            return None
        movable = [index for index, other in enumerate(self._slots) if not other.pinned]
        evicted: Hashable | None = None
        if self.policy != "all" and len(movable) >= self.capacity:
            victim = min(movable, key=self._rank)
            if self.capacity == 1:
                slot.usage = self._slots[victim].usage
            evicted = self._slots.pop(victim).key
        self._slots.append(slot)
        if self.capacity > 1:
            for each in self._slots:
                each.usage /= 2
        return evicted

    def choose(self, landmarks: Points) -> Reference | None:
        """Return the reference whose landmarks are nearest, and count its use; None while nothing is stored.

        Nearest is the Euclidean distance over all 136 numbers; the earliest slot wins a tie.

        Args:
            landmarks: float32 (68, 2), (x, y) in crop pixels, in the crop the references were aligned to.
        """
        check_shape(landmarks, np.float32, (68, 2), "KeyframeMemory.choose landmarks")
        if not self._slots:
            return None
        distances = self.distances(landmarks)
        slot = self._slots[int(np.argmin(distances))]
        self._clock += 1
        slot.usage += 1.0
        slot.touched = self._clock
        return slot.reference

    def fit(self, change: Callable[[Reference], Reference]) -> None:
        """Put `change(reference)` in the place of every stored reference, and of those that will be added, counters kept.

        What is changed is always the reference as it was added, so that nothing is lost when crops become smaller and larger again.
        """
        self._fitted = change
        for slot in self._slots:
            slot.reference = change(slot.original)
            slot.landmarks = slot.reference.landmarks.astype(np.float64)

    def distances(self, landmarks: Points) -> tuple[float, ...]:
        """Return the distance of `landmarks`, float32 (68, 2), to every stored reference in crop pixels, in slot order."""
        wanted = landmarks.astype(np.float64)
        return tuple(float(np.sqrt(np.sum((slot.landmarks - wanted) ** 2))) for slot in self._slots)

    def _rank(self, index: int) -> float:
        """What makes a slot leave: the smallest value goes first, the earliest slot on a tie."""
        slot = self._slots[index]
        return slot.usage if self.policy == "lfu" else float(slot.touched)


def _unchanged(reference: Reference) -> Reference:
    return reference
