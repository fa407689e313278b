"""Metrics that give every person in a frame a value: a frame's is the mean over its people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from keyframes_gan.metrics.clips import ClipScore, Frames, Value, mean

Measure = Callable[[Frames], Sequence[dict[int, float]]]
"""Returns per frame the values by person."""
Found = TypeVar("Found")
FEWEST = 2


@dataclass
class ByPerson:
    """The `ClipScorer` whose clip's value is the mean over frames."""

    measure: Measure
    values: list[Value] = field(default_factory=list)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self.values += [mean(list(people.values())) for people in self.measure(frames)]

    def finish(self) -> ClipScore:
        """Return the frames' values and their mean."""
        return ClipScore(tuple(self.values), mean(self.values))


def between(look: Callable[[Frames], Sequence[Mapping[int, Found]]], change: Callable[[Found, Found], float]) -> Measure:
    """Return what gives every frame's changes since the frame before, by person; it remembers that frame, and so serves one clip.

    Args:
        look: finds something in every frame, by person.
        change: of what is found in a frame, and what was in the one before.
    """
    last: Mapping[int, Found] = {}

    def measure(frames: Frames) -> list[dict[int, float]]:
        nonlocal last
        changes = []
        for index, now in enumerate(look(frames)):
            before = last if frames.continues(index) else {}
            changes.append({person: change(now[person], before[person]) for person in now if person in before})
            last = now
        return changes

    return measure


@dataclass
class Spread:
    """The `ClipScorer` whose clip's value is the standard deviation over time (divided by the number of frames, not one less).

    It is taken for every person seen in at least two frames, and averaged, people counting by their frames. Frames have no values.
    """

    measure: Measure
    frames: int = 0
    values: dict[int, list[float]] = field(default_factory=dict)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self.frames += len(frames)
        for people in self.measure(frames):
            for person, value in people.items():
                self.values.setdefault(person, []).append(value)

    def finish(self) -> ClipScore:
        """Return the spread."""
        series = [values for values in self.values.values() if len(values) >= FEWEST]
        spreads, counts = [float(np.std(values)) for values in series], [len(values) for values in series]
        return ClipScore((None,) * self.frames, float(np.average(spreads, weights=counts)) if series else None)
