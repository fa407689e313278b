"""Where pictures are measured: as they are (without a border, whole or in boxes), or as aligned crops of a face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np

from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import CropSpec, crop, transform_points
from keyframes_gan.metrics import Box
from keyframes_gan.metrics.clips import Frames, Strip
from keyframes_gan.types import Image, Matrix, Points

Boxes = Sequence[Sequence[Box]]
"""Per frame the boxes that count; frames beyond its end have none."""
People = Sequence[Mapping[int, Points]]
"""Per frame and person the 68 landmarks in the original, float32 (68, 2); frames beyond its end have none."""

Item = TypeVar("Item")
WHOLE, FACE, CROP = "whole", "face", "crop"
CROP_SPEC = CropSpec("ffhq", 512)
"""How faces are cut out for the region "crop"."""


@dataclass(frozen=True)
class Region:
    """What counts: the boxes, or the aligned crop of one person (antialiased bicubic, `CROP_SPEC`); with neither, the whole picture."""

    boxes: Boxes | None = None
    person: int | None = None


@dataclass(frozen=True)
class Step:
    """One frame of all streams. `cut`: it begins a new shot. `seam`: it begins a clip that was restored on its own."""

    index: int
    time: Fraction | None
    original: Image
    tests: Mapping[str, Image]
    cut: bool = False
    seam: bool = False


@dataclass(frozen=True)
class View:
    """Consecutive frames in one space, ready for metrics. `border`: pixels that were cut off on every side."""

    steps: Sequence[Step]
    original: Strip
    tests: Mapping[str, Strip]
    people: Sequence[Mapping[int, Points]]
    border: int = 0

    def frames(self, version: str, boxes: Boxes | None) -> Frames:
        """Return what metrics are given for a version; `boxes` in pixels of the uncut pictures."""
        inside = None if boxes is None else [self._moved(_at(boxes, step.index, ()), step.original) for step in self.steps]
        cuts, seams = ([getattr(step, name) for step in self.steps] for name in ("cut", "seam"))
        return Frames(self.original, self.tests[version], inside, self.people, cuts, seams)

    def _moved(self, boxes: Sequence[Box], picture: Image) -> list[Box]:
        """Return the boxes in pixels of the cut `picture`, those outside it left out."""
        height, width = picture.shape[:2]
        edge = self.border
        moved = [(max(0, x0 - edge), max(0, y0 - edge), min(width, x1 - edge), min(height, y1 - edge)) for x0, y0, x1, y1 in boxes]
        return [box for box in moved if box[0] < box[2] and box[1] < box[3]]


class Space(Protocol):
    """Turns frames into what is measured; remembers the last one, with which the next is compared."""

    def view(self, steps: Sequence[Step], people: People | None) -> View:
        """Return the frames in this space; fewer where some of them are not to be seen in it."""


def space_of(region: Region, border: int) -> Space:
    """Return the space of a region; regions of one space are equal, so that they share what metrics find out."""
    return PictureSpace(border) if region.person is None else CropSpace(region.person)


@dataclass(eq=False)
class _Memory:
    """The last pictures by stream, and whether what comes next does not continue them."""

    last: dict[str, Image] = field(default_factory=dict)
    broken: bool = False

    def view(self, steps: Sequence[Step], people: Sequence[Mapping[int, Points]], border: int = 0) -> View:
        """Return the view of steps whose pictures lie in the space already."""
        pictures = {"": [step.original for step in steps]}
        for version in steps[0].tests if steps else ():
            pictures[version] = [step.tests[version] for step in steps]
        strips = {stream: Strip(found, self.last.get(stream)) for stream, found in pictures.items()}
        self.last.update({stream: found[-1] for stream, found in pictures.items() if found})
        return View(steps, strips.pop(""), strips, people, border)


@dataclass(frozen=True)
class PictureSpace:
    """The pictures without `border` pixels on every side."""

    border: int
    memory: _Memory = field(default_factory=_Memory, compare=False)

    def view(self, steps: Sequence[Step], people: People | None) -> View:
        """Return the frames, their borders cut off."""
        shift = np.float32(self.border)
        cut = [
            replace(step, original=self._cut(step.original), tests={name: self._cut(test) for name, test in step.tests.items()})
            for step in steps
        ]
        seen = [{person: points - shift for person, points in _at(people or (), step.index, {}).items()} for step in steps]
        return self.memory.view(cut, seen, self.border)

    def _cut(self, picture: Image) -> Image:
        edge = self.border
        if edge == 0:
            return picture
        if edge < 0 or 2 * edge >= min(picture.shape[:2]):
            msg = f"--crop_border: expected 0 to {(min(picture.shape[:2]) - 1) // 2} for {picture.shape[1]}x{picture.shape[0]}, got {edge}"
            raise UserError(msg)
        return np.ascontiguousarray(picture[edge:-edge, edge:-edge])


@dataclass(frozen=True)
class CropSpace:
    """The aligned crops of one person, placed by the landmarks in the original; frames without that person are left out."""

    person: int
    memory: _Memory = field(default_factory=_Memory, compare=False)

    def view(self, steps: Sequence[Step], people: People | None) -> View:
        """Return the crops; the first one after frames without the person does not continue what was before."""
        cut, seen = [], []
        for step in steps:
            points = _at(people or (), step.index, {}).get(self.person)
            if points is None:
                self.memory.broken = True
                continue
            to_crop = CROP_SPEC.to_crop(points)
            tests = {name: _crop(test, to_crop) for name, test in step.tests.items()}
            cut.append(replace(step, original=_crop(step.original, to_crop), tests=tests, cut=step.cut or self.memory.broken))
            seen.append({self.person: transform_points(points, to_crop)})
            self.memory.broken = False
        return self.memory.view(cut, seen)


def _crop(picture: Image, to_crop: Matrix) -> Image:
    return crop(picture, to_crop, CROP_SPEC.size)


def _at(items: Sequence[Item], index: int, default: Item) -> Item:
    """Return `items[index]`, or `default` beyond their end."""
    return items[index] if index < len(items) else default
