"""What every metric of clips is given and gives back: consecutive frames in, one number per frame and one for the clip out.

    begin = metrics.load_clip("e_warp")     # the model, if any, is loaded once
    scorer = begin()                        # one clip of one version, in one region
    scorer.add(frames)                      # some consecutive frames at a time, so that memory does not grow with the video
    score = scorer.finish()                 # ClipScore(values=(None, 0.01, ...), value=0.012)

Importing this module imports neither torch nor OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from keyframes_gan.metrics.kinds import BatchScorer, Box, Picture, Scorer
from keyframes_gan.types import Points

Found = TypeVar("Found")
Value = float | None
"""A score; None where nothing could be measured."""


class Strip:
    """Consecutive pictures of one stream, and what metrics found out about them, so that nothing is found out twice.

    Attributes:
        pictures: uint8 RGB (H, W, 3), all of one size.
        before: the picture before the first one; None at the beginning of a clip.
    """

    def __init__(self, pictures: Sequence[Picture], before: Picture | None = None) -> None:
        self.pictures, self.before = tuple(pictures), before
        self._facts: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """Return `find()`, which is only called the first time that `key` is asked for."""
        if key not in self._facts:
            self._facts[key] = find()
        return cast("Found", self._facts[key])

    def steps(self) -> Iterator[tuple[Picture | None, Picture]]:
        """Yield (the picture before, picture) for every picture."""
        yield from zip((self.before, *self.pictures[:-1]), self.pictures, strict=True)


@dataclass(frozen=True)
class Frames:
    """Consecutive frames of the original and of the version to judge, as many of each, of one size.

    `boxes`: per frame the boxes that count, None for the whole picture. `faces`: per frame and person the 68 landmarks in the original
    (float32 (68, 2) in pixels of these pictures). `cuts`: per frame whether it begins a new shot, so that it does not continue the frame
    before; True for the first of a clip. `seams`: per frame whether it is the first one of a clip that was restored on its own.
    """

    original: Strip
    judged: Strip
    boxes: Sequence[Sequence[Box]] | None = None
    faces: Sequence[Mapping[int, Points]] = ()
    cuts: Sequence[bool] = ()
    seams: Sequence[bool] = ()

    def __post_init__(self) -> None:
        given = (self.judged.pictures, self.boxes, self.faces, self.cuts, self.seams)
        if any(part and len(part) != len(self.original) for part in given):
            counts = ", ".join("none" if part is None else str(len(part)) for part in given)
            msg = f"Frames: expected {len(self.original)} of everything, got {counts}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.original)

    def inside(self, index: int) -> Sequence[Box] | None:
        """Return the boxes that count in frame `index`, None for the whole picture."""
        return None if self.boxes is None else self.boxes[index]

    def people(self, index: int) -> Mapping[int, Points]:
        """Return the faces of frame `index` in the original, by person."""
        return self.faces[index] if self.faces else {}

    def continues(self, index: int) -> bool:
        """Tell whether frame `index` continues the one before, so that both may be compared."""
        has_before = index > 0 or self.original.before is not None
        return has_before and not (self.cuts and self.cuts[index])


@dataclass(frozen=True)
class ClipScore:
    """A metric's result for one clip.

    `values`: one per frame, None where the metric has none there. `value`: the clip's, None where nothing could be measured.
    `pool`: what the total of all clips is made from where it is neither a mean over frames nor over clips (FID); it can be added up.
    """

    values: tuple[Value, ...]
    value: Value
    pool: Any = None


class ClipScorer(Protocol):
    """Scores one clip of one version in one region."""

    def add(self, frames: Frames) -> None:
        """Take the next frames."""

    def finish(self) -> ClipScore:
        """Return the result; nothing is added afterwards."""


Begin = Callable[[], ClipScorer]
"""A loaded metric: call it for every clip."""


def mean(values: Sequence[Value]) -> Value:
    """Return the mean of what could be measured, None where there is nothing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass
class FrameByFrame:
    """The `ClipScorer` of a metric that gives every frame a value of its own; the clip's is their mean.

    Attributes:
        measure: returns the values of some consecutive frames, one each.
    """

    measure: Callable[[Frames], Sequence[Value]]
    values: list[Value] = field(default_factory=list)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self.values += self.measure(frames)

    def finish(self) -> ClipScore:
        """Return the frames' values and their mean."""
        return ClipScore(tuple(self.values), mean(self.values))


def per_picture(scorer: Scorer) -> Begin:
    """Return a metric of single pictures as one of clips."""

    def measure(frames: Frames) -> list[Value]:
        if frames.boxes is None and isinstance(scorer, BatchScorer):
            return scorer.many(frames.original.pictures, frames.judged.pictures)
        pairs = zip(frames.original.pictures, frames.judged.pictures, strict=True)
        return [scorer(original, picture, frames.inside(index)) for index, (original, picture) in enumerate(pairs)]

    return lambda: FrameByFrame(measure)
