"""Which experts the faces got, for the report: one entry for as long as a person stays with one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keyframes_gan.pipeline.guard import Likeness

if TYPE_CHECKING:
    from keyframes_gan.types import Decision


@dataclass
class Stretch:
    """Frames `first` to `last` in which a person stayed with one expert; the numbers are sums over `frames` of them."""

    person: int
    first: int
    last: int
    expert: str
    reason: str
    frames: int = 0
    width_px: float = 0.0
    sharpness: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0
    identity: Likeness = field(default_factory=Likeness)

    def add(self, index: int, decision: Decision) -> None:
        """Take one more frame."""
        self.last = index
        self.frames += 1
        self.width_px += decision.width_px
        self.sharpness += decision.sharpness
        self.noise += decision.noise
        self.seconds += decision.seconds

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; `w` in pixels of the input, `q`, `noise` and `ms` (milliseconds): means; `identity` or null."""
        return {
            "person": self.person,
            "first_frame": self.first,
            "last_frame": self.last,
            "frames": self.frames,
            "w": round(self.width_px / self.frames, 1),
            "q": round(self.sharpness / self.frames, 1),
            "noise": round(self.noise / self.frames, 2),
            "expert": self.expert,
            "reason": self.reason,
            "ms": round(1000 * self.seconds / self.frames, 1),
            "identity": self.identity.as_json(),
        }


class Routes:
    """Collects the decisions of a pass. Memory grows with the changes of expert, not with the frames."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self._open: dict[int, Stretch] = {}

    def add(self, person: int, index: int, decision: Decision | None) -> None:
        """Take the decision for a person in a frame; frames of one person come in order."""
        if decision is None:
            return
        now = self._open.get(person)
        if now is None or now.expert != decision.expert or index != now.last + 1:
            now = Stretch(person, index, index, decision.expert, decision.reason)
            self._open[person] = now
            self.stretches.append(now)
        now.add(index, decision)

    def compared(self, person: int, index: int, identity: float) -> None:
        """Take how alike the restored face of a person is to its input in a frame that was added, if it was."""
        for one in reversed(self.stretches):
            if one.person == person and one.first <= index <= one.last:
                one.identity.add(identity)
                return

    def as_json(self) -> list[dict[str, Any]]:
        """Return the stretches, by their first frame."""
        return [one.as_json() for one in sorted(self.stretches, key=lambda one: (one.first, one.person))]
