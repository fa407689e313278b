"""Scores of picture streams: several versions of one video against the original, in one pass, a few frames at a time."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice

from keyframes_gan import metrics
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.faces.shots import CutFinder
from keyframes_gan.measure.scores import Scores
from keyframes_gan.measure.spaces import FACE, WHOLE, Boxes, People, Region, Step, space_of
from keyframes_gan.metrics import Begin, UnavailableError
from keyframes_gan.metrics.clips import ClipScorer, Frames
from keyframes_gan.types import Frame, Image

Pictures = Iterable[Image] | Iterable[Frame] | Iterable[Image | Frame]
BATCH_PIXELS, BATCH_FRAMES = 2**22, 16
"""So many frames go through the metrics together: at most 16, and at most 4 megapixels (but always one frame)."""
ORIGINAL = "original"

RegionScores = dict[str, dict[str, Scores]]
"""Scores by region ("whole", "face", "crop") and by version ("restored", "compressed")."""


def load_scorers(names: Sequence[str], *, device: str = "auto") -> tuple[dict[str, Begin], dict[str, str]]:
    """Return the metrics `names`, loaded, and for those that cannot be taken here the reason.

    Raises:
        UserError: a metric of another name, or a device that is not there.
    """
    scorers, reasons = {}, {}
    for name in dict.fromkeys(names):
        try:
            scorers[name] = metrics.load_clip(name, device=device)
        except (WeightsError, UnavailableError) as error:
            reasons[name] = str(error)
    return scorers, reasons


def measure_pair(
    reference_frames: Pictures,
    test_frames: Pictures,
    names: Sequence[str] = ("psnr", "ssim"),
    *,
    boxes: Boxes | None = None,
    people: People | None = None,
) -> dict[str, float | None]:
    """Return each metric's value for a clip: for metrics of frames, the mean over them. None where nothing could be measured.

    Args:
        reference_frames: the original: uint8 RGB pictures, or `Frame`s.
        test_frames: the version to judge, as many pictures of the same sizes.
        names: metrics, as in `keyframes_gan.metrics.METRICS`.
        boxes: per frame, measure inside these boxes only.
        people: per frame and person the 68 landmarks in the original; metrics of faces need them.

    Raises:
        UserError: different numbers of frames or sizes, an unknown metric, or a metric of faces without `people`.
        UnavailableError, WeightsError: something that a metric needs is missing.
    """
    scorers = {name: metrics.load_clip(name) for name in names}
    regions = {WHOLE: Region()} if boxes is None else {FACE: Region(boxes)}
    scores = measure_streams(reference_frames, {"test": test_frames}, scorers, regions=regions, people=people)
    (versions,) = scores.values()
    return {name: versions["test"].mean(name) for name in names}


def measure_streams(
    original: Pictures,
    versions: Mapping[str, Pictures],
    scorers: Mapping[str, Begin],
    *,
    regions: Mapping[str, Region] | None = None,
    people: People | None = None,
    seams: Container[int] = (),
    crop_border: int = 0,
    every: int = 1,
    tolerance: Fraction | None = None,
    labels: Mapping[str, str] | None = None,
) -> RegionScores:
    """Walk all streams together, a few frames of each in memory, and score every version against the original.

    Args:
        original: uint8 RGB pictures, or `Frame`s.
        versions: streams to judge, by name.
        scorers: metrics by name, from `load_scorers`.
        regions: what counts, by name; default the whole picture.
        people: per frame and person the 68 landmarks in the original; metrics of faces need them.
        seams: numbers of the frames that begin a clip which was restored on its own.
        crop_border: pixels left out on every side (not of aligned crops).
        every: score every Nth frame; the others are only counted and their sizes compared.
        tolerance: by how many seconds the times of `Frame`s may differ; None compares no times.
        labels: how messages call the versions and "original"; default the names.

    Raises:
        UserError: a version has another number of frames, another size or other times than the original, there are no frames, or a metric
            of faces is asked for without `people`.
    """
    if people is None and (wanting := [name for name in scorers if metrics.find(name).uses_faces]):
        msg = f"{', '.join(wanting)}: expected `people`, the landmarks of the original's faces, got none"
        raise UserError(msg)
    chosen: Mapping[str, Region] = {WHOLE: Region()} if regions is None else regions
    known = {ORIGINAL: ORIGINAL, **{name: name for name in versions}, **(labels or {})}
    runs = {region: {version: _Run.of(scorers) for version in versions} for region in chosen}
    spaces = {region: space_of(what, crop_border) for region, what in chosen.items()}
    empty = True
    steps = _chosen(_together(original, versions, known, tolerance), every, seams)
    for batch in _batches(steps):
        empty = False
        views = {space: space.view(batch, people) for space in dict.fromkeys(spaces.values())}
        for region, what in chosen.items():
            view = views[spaces[region]]
            for version, run in runs[region].items() if view.steps else ():
                run.add(view.frames(version, what.boxes), view.steps)
    if empty:
        msg = f"{known[ORIGINAL]}: expected at least one frame, got none"
        raise UserError(msg)
    return {region: {version: run.finish() for version, run in runs[region].items()} for region in chosen}


@dataclass
class _Run:
    """One version in one region, on its way."""

    scorers: dict[str, ClipScorer]
    frames: list[int] = field(default_factory=list)
    times: list[Fraction | None] = field(default_factory=list)

    @classmethod
    def of(cls, begins: Mapping[str, Begin]) -> _Run:
        return cls({name: begin() for name, begin in begins.items()})

    def add(self, frames: Frames, steps: Sequence[Step]) -> None:
        """Let every metric see the frames."""
        self.frames += [step.index for step in steps]
        self.times += [step.time for step in steps]
        for scorer in self.scorers.values():
            scorer.add(frames)

    def finish(self) -> Scores:
        return Scores(tuple(self.frames), tuple(self.times), {name: scorer.finish() for name, scorer in self.scorers.items()})


def _batches(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Yield the steps in groups that are as large as memory should hold."""
    for first in steps:
        height, width = first.original.shape[:2]
        count = min(max(BATCH_PIXELS // (height * width), 1), BATCH_FRAMES)
        yield [first, *islice(steps, count - 1)]


def _chosen(steps: Iterator[Step], every: int, seams: Container[int]) -> Iterator[Step]:
    """Yield every Nth step, with shot cuts and seams marked; those of steps passed over count for the next one."""
    finder, cut, seam = CutFinder(), False, False
    for step in steps:
        cut |= finder.is_cut(step.original)
        seam |= step.index in seams
        if step.index % every == 0:
            yield Step(step.index, step.time, step.original, step.tests, cut=cut, seam=seam)
            cut = seam = False


def _together(
    original: Pictures, versions: Mapping[str, Pictures], labels: Mapping[str, str], tolerance: Fraction | None
) -> Iterator[Step]:
    """Yield the pictures of all streams side by side, and check that sizes, times and numbers of frames agree."""
    others: dict[str, Iterator[Image | Frame]] = {name: iter(stream) for name, stream in versions.items()}
    items: Iterator[Image | Frame] = iter(original)
    index = -1
    for index, item in enumerate(items):
        tests = {}
        for name, stream in others.items():
            other = next(stream, None)
            if other is None:
                msg = f"{labels[name]}: expected the frames of {labels[ORIGINAL]}, but it ends after {index} and the original goes on"
                raise UserError(msg)
            _check(item, other, index, (labels[name], labels[ORIGINAL]), tolerance)
            tests[name] = _picture(other)
        yield Step(index, item.time if isinstance(item, Frame) else None, _picture(item), tests)
    for name, stream in others.items():
        if next(stream, None) is not None:
            msg = f"{labels[name]}: expected {index + 1} frames as {labels[ORIGINAL]}, but it goes on after them"
            raise UserError(msg)


def _check(original: Image | Frame, other: Image | Frame, index: int, labels: tuple[str, str], tolerance: Fraction | None) -> None:
    """Compare the times, where both have one, and the sizes of two frames."""
    if tolerance is not None and isinstance(original, Frame) and isinstance(other, Frame) and abs(original.time - other.time) > tolerance:
        msg = (
            f"{labels[0]}: expected frame {index} at {float(original.time):.3f} s as {labels[1]}, got {float(other.time):.3f} s; "
            "a frame is missing or added there: measure versions of the same video"
        )
        raise UserError(msg)
    one, two = _picture(original), _picture(other)
    if one.shape != two.shape:
        msg = (
            f"{labels[0]}: expected {one.shape[1]}x{one.shape[0]} as {labels[1]}, "
            f"got {two.shape[1]}x{two.shape[0]} in frame {index}; measure videos of one size"
        )
        raise UserError(msg)


def _picture(item: Image | Frame) -> Image:
    return item.rgb if isinstance(item, Frame) else item
