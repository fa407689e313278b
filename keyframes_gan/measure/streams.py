"""Scores of picture streams: several versions of one video against the original, frame by frame, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keyframes_gan import metrics
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.metrics import Box, Scorer
from keyframes_gan.types import Frame, Image

Pictures = Iterable[Image] | Iterable[Frame]
Boxes = Sequence[Sequence[Box]]
"""Per frame the boxes that count."""
WHOLE, FACE = "whole", "face"


@dataclass
class Scores:
    """Sums over frames, from which means of any set of videos follow. Every measured frame counts the same."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: float, count: int = 1) -> None:
        """Add the sum `value` of `count` frames' scores."""
        self.sums[name] = self.sums.get(name, 0.0) + value
        self.counts[name] = self.counts.get(name, 0) + count

    def mean(self, name: str) -> float | None:
        """Return the mean over the frames where the metric `name` could be taken, None where there was none."""
        count = self.counts.get(name, 0)
        return self.sums[name] / count if count else None

    def __add__(self, other: Scores) -> Scores:
        total = Scores(dict(self.sums), dict(self.counts))
        for name, value in other.sums.items():
            total.add(name, value, other.counts[name])
        return total


RegionScores = dict[str, dict[str, Scores]]
"""Scores by region ("whole", "face") and by version ("restored", "compressed")."""


def load_scorers(names: Sequence[str]) -> tuple[dict[str, Scorer], dict[str, str]]:
    """Return the scorers of the metrics `names`, and for those whose weights are missing the reason.

    Raises:
        UserError: a metric of another name.
    """
    scorers, reasons = {}, {}
    for name in dict.fromkeys(names):
        try:
            scorers[name] = metrics.load(name)
        except WeightsError as error:
            reasons[name] = str(error)
    return scorers, reasons


def measure_pair(
    reference_frames: Pictures, test_frames: Pictures, names: Sequence[str] = ("psnr", "ssim"), *, boxes: Boxes | None = None
) -> dict[str, float | None]:
    """Return the mean of each metric over all frames; None where nothing could be measured.

    Args:
        reference_frames: the original: uint8 RGB pictures, or `Frame`s.
        test_frames: the version to judge, as many pictures of the same sizes.
        names: metrics, as in `keyframes_gan.metrics.METRICS`.
        boxes: per frame, measure inside these boxes only.

    Raises:
        UserError: different numbers of frames or sizes, or an unknown metric.
        WeightsError: a metric's weights are missing.
    """
    scorers = {name: metrics.load(name) for name in names}
    regions = {WHOLE: None} if boxes is None else {FACE: boxes}
    scores = measure_streams(reference_frames, {"test": test_frames}, scorers, regions=regions)
    (versions,) = scores.values()
    return {name: versions["test"].mean(name) for name in names}


def measure_streams(
    original: Pictures,
    versions: Mapping[str, Pictures],
    scorers: Mapping[str, Scorer],
    *,
    regions: Mapping[str, Boxes | None] | None = None,
    crop_border: int = 0,
    every: int = 1,
    labels: Mapping[str, str] | None = None,
) -> RegionScores:
    """Walk all streams together, one frame of each in memory, and score every version against the original.

    Args:
        original: uint8 RGB pictures, or `Frame`s.
        versions: streams to judge, by name.
        scorers: metrics by name.
        regions: per region its boxes frame by frame, or None for the whole picture; default the whole picture.
        crop_border: pixels left out on every side.
        every: score every Nth frame; the others are only counted and their sizes compared.
        labels: how messages call the versions and "original"; default the names.

    Raises:
        UserError: a version has another number of frames or another size than the original, or there are no frames.
    """
    chosen: Mapping[str, Boxes | None] = {WHOLE: None} if regions is None else regions
    scores: RegionScores = {region: {version: Scores() for version in versions} for region in chosen}
    known = {"original": "original", **{name: name for name in versions}, **(labels or {})}
    count = 0
    for index, reference, tests in _together(original, versions, known):
        count += 1
        if index % every:
            continue
        first = _cropped(reference, crop_border)
        for name, test in tests.items():
            second = _cropped(test, crop_border)
            for region, boxes in chosen.items():
                inside = None if boxes is None else _shifted(boxes[index], crop_border, first) if index < len(boxes) else []
                _score(scores[region][name], scorers, first, second, inside)
    if count == 0:
        msg = f"{known['original']}: expected at least one frame, got none"
        raise UserError(msg)
    return scores


def _score(scores: Scores, scorers: Mapping[str, Scorer], first: Image, second: Image, boxes: Sequence[Box] | None) -> None:
    """Add one frame's scores."""
    for metric, scorer in scorers.items():
        value = scorer(first, second, boxes)
        if value is not None:
            scores.add(metric, value)


def _together(
    original: Pictures, versions: Mapping[str, Pictures], labels: Mapping[str, str]
) -> Iterator[tuple[int, Image, dict[str, Image]]]:
    """Yield (index, original picture, picture per version) and check that sizes and numbers of frames agree."""
    others = {name: _pictures(stream) for name, stream in versions.items()}
    index = -1
    for index, reference in enumerate(_pictures(original)):
        tests = {}
        for name, stream in others.items():
            picture = next(stream, None)
            if picture is None:
                msg = f"{labels[name]}: expected the frames of {labels['original']}, but it ends after {index} and the original goes on"
                raise UserError(msg)
            if picture.shape != reference.shape:
                msg = (
                    f"{labels[name]}: expected {reference.shape[1]}x{reference.shape[0]} as {labels['original']}, "
                    f"got {picture.shape[1]}x{picture.shape[0]} in frame {index}; measure videos of one size"
                )
                raise UserError(msg)
            tests[name] = picture
        yield index, reference, tests
    for name, stream in others.items():
        if next(stream, None) is not None:
            msg = f"{labels[name]}: expected {index + 1} frames as {labels['original']}, but it goes on after them"
            raise UserError(msg)


def _pictures(stream: Pictures) -> Iterator[Image]:
    """Yield the pictures of a stream of pictures or `Frame`s."""
    for item in stream:
        yield item.rgb if isinstance(item, Frame) else item


def _cropped(picture: Image, border: int) -> Image:
    """Return the picture without `border` pixels on every side."""
    if border == 0:
        return picture
    if border < 0 or 2 * border >= min(picture.shape[:2]):
        msg = f"--crop_border: expected 0 to {(min(picture.shape[:2]) - 1) // 2} for {picture.shape[1]}x{picture.shape[0]}, got {border}"
        raise UserError(msg)
    return picture[border:-border, border:-border]


def _shifted(boxes: Sequence[Box], border: int, picture: Image) -> list[Box]:
    """Return the boxes in the coordinates of the cropped `picture`, those outside it left out."""
    height, width = picture.shape[:2]
    moved = [(max(0, x0 - border), max(0, y0 - border), min(width, x1 - border), min(height, y1 - border)) for x0, y0, x1, y1 in boxes]
    return [box for box in moved if box[0] < box[2] and box[1] < box[3]]
