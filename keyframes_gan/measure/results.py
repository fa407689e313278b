"""What was measured, as tables on the screen and as metrics.csv and metrics.json.

A gain is restored against compressed in the metric's good direction: positive is better, whether high or low values are good.
metrics.csv has a row per frame, then one for the clip (`frame` is "all"), and the totals; metrics.json has the means, their spread and
confidence, and the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keyframes_gan import report
from keyframes_gan.atomic import check_writable
from keyframes_gan.errors import MediaError
from keyframes_gan.measure.pairs import COMPRESSED, RESTORED
from keyframes_gan.measure.scores import Scores, Statistics, of_clip, of_clips
from keyframes_gan.measure.spaces import CROP, FACE, WHOLE
from keyframes_gan.measure.streams import RegionScores
from keyframes_gan.metrics import Metric, find

TITLES = {WHOLE: "Whole picture", FACE: "Faces only", CROP: "Aligned crops of the main person"}
FILES = ("metrics.csv", "metrics.json")
UNAVAILABLE = "unavailable"
ALL_FRAMES = "all"
COLUMNS = 6
FORMAT_VERSION = 2

Means = dict[str, dict[str, float | None]]
"""Values by version and metric."""


@dataclass(frozen=True)
class VideoScores:
    """One video's scores, by region and version."""

    name: str
    frames: int
    files: dict[str, str]
    scores: RegionScores


@dataclass(frozen=True)
class Summary:
    """Everything that was measured, and everything that was not.

    `metrics` in the order of columns; `unavailable`: metric -> reason; `failed`: video -> error; `missing`: one line per file that was
    looked for and not found.
    """

    metrics: tuple[str, ...]
    unavailable: dict[str, str] = field(default_factory=dict)
    videos: list[VideoScores] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True when every video was found, and measured in every region by every metric that is available."""
        return not (self.failed or self.missing or self.unmeasured)

    @property
    def unmeasured(self) -> list[str]:
        """One line for each video and region in which metrics that can be taken have no value, and for each total (FID)."""
        lines = []
        for region in self.regions:
            for video in self.videos:
                lines += _without_value(f"{video.name}, {region}", _means(video.scores[region]), self._of(one_total=False))
            lines += _without_value(f"total, {region}", _middles(self.total(region)), self._of(one_total=True))
        return lines

    def _of(self, *, one_total: bool) -> list[str]:
        """Return the metrics that could be taken and have one value for all videos together, or those that have one for each."""
        return [name for name in self.available if (find(name).total == "set") == one_total]

    @property
    def regions(self) -> list[str]:
        """The regions that were measured."""
        return [region for region in TITLES if any(region in video.scores for video in self.videos)]

    @property
    def available(self) -> list[str]:
        """The metrics that could be taken."""
        return [name for name in self.metrics if name not in self.unavailable]

    def total(self, region: str) -> dict[str, dict[str, Statistics]]:
        """Return the statistics over all videos, by version and metric; see `keyframes_gan.measure.scores.of_clips`.

        A version that only some videos have is not given: its mean would be over other frames.
        """
        parts = [video.scores[region] for video in self.videos]
        versions = [version for version in (RESTORED, COMPRESSED) if parts and all(version in part for part in parts)]
        return {
            version: {name: of_clips(find(name), [part[version].metrics[name] for part in parts]) for name in self.available}
            for version in versions
        }


def gain(metric: Metric, means: Means) -> float | None:
    """Return how much better restored is than compressed; None where one of them is not known."""
    restored, compressed = (means.get(version, {}).get(metric.name) for version in (RESTORED, COMPRESSED))
    if restored is None or compressed is None:
        return None
    return restored - compressed if metric.higher_is_better else compressed - restored


def _means(scores: dict[str, Scores]) -> Means:
    """Return one clip's values."""
    return {version: {name: score.value for name, score in one.metrics.items()} for version, one in scores.items()}


def _without_value(place: str, means: Means, names: Sequence[str]) -> list[str]:
    """Return the line that names the metrics without a value in a version; none when all have one."""
    found = [name for name in names if any(values.get(name) is None for values in means.values())]
    return [f"{place}: {', '.join(found)}: no frame has what they need, see docs/metrics.md"] if found else []


def _middles(statistics: dict[str, dict[str, Statistics]]) -> Means:
    """Return the means of statistics."""
    return {version: {name: one.mean for name, one in named.items()} for version, named in statistics.items()}


def tables(summary: Summary) -> list[Table]:
    """Return the tables of every region, of at most `COLUMNS` metrics each.

    A row per video, the total below with half the width of its 95 % confidence interval; `compressed -> restored` and the gain in every
    cell.
    """
    parts = [summary.metrics[first : first + COLUMNS] for first in range(0, len(summary.metrics), COLUMNS)]
    return [_table(summary, region, names) for region in summary.regions for names in parts]


def _table(summary: Summary, region: str, names: Sequence[str]) -> Table:
    """Return one table of some metrics."""
    columns = ["Video", "Frames", *(_heading(find(name)) for name in names)]
    rows = [[escape(video.name), str(video.frames), *_cells(summary, names, _means(video.scores[region]))] for video in summary.videos]
    statistics = summary.total(region)
    cells = [
        cell + _half_width(find(name), statistics.get(RESTORED, {}).get(name))
        for name, cell in zip(names, _cells(summary, names, _middles(statistics)), strict=True)
    ]
    total = ["Total", str(sum(video.frames for video in summary.videos)), *cells]
    note = "compressed → restored; gain: positive is better" if any(COMPRESSED in v.scores[region] for v in summary.videos) else ""
    return report.table(TITLES[region], columns, rows, total=total, note=note)


def _half_width(metric: Metric, statistics: Statistics | None) -> str:
    """Return how far the restored mean's confidence interval reaches on either side, as a further line of a cell."""
    if statistics is None or statistics.ci95 is None:
        return ""
    low, high = statistics.ci95
    return f"\n± {(high - low) / 2:.{metric.decimals}f}"


def _heading(metric: Metric) -> str:
    """Return a column's heading."""
    if metric.better == "unknown":
        return escape(metric.label)
    return report.heading(metric.label, metric.unit, higher_is_better=metric.higher_is_better)


def print_summary(summary: Summary, *, console: Console | None = None) -> None:
    """Print the tables, then what could not be measured and why."""
    for drawn in tables(summary):
        report.print_table(drawn, console=console)
    out = console or Console(soft_wrap=True)
    for name, reason in summary.unavailable.items():
        out.print(f"{find(name).label} {UNAVAILABLE}: {reason}", markup=False, highlight=False)
    for line in summary.unmeasured:
        out.print(f"not measured: {line}", markup=False, highlight=False)
    for line in summary.missing:
        out.print(f"missing: {line}", markup=False, highlight=False)
    for name, error in summary.failed.items():
        out.print(f"failed: {name}: {error}", markup=False, highlight=False)


def check_output(folder: Path) -> None:
    """Try, before any work, whether `write_summary` can write into `folder`; nothing stays.

    Raises:
        MediaError: it cannot.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    there = missing[-1].parent if missing else folder
    if not there.is_dir():
        msg = f"--output: expected a folder for {' and '.join(FILES)}, got {folder}, but {there} is a file; choose another"
        raise MediaError(msg)
    for path in missing[-1:] or [folder / name for name in FILES]:
        check_writable(path)


def write_summary(summary: Summary, folder: Path) -> tuple[Path, Path]:
    """Write metrics.csv and metrics.json into `folder` and return their paths.

    Raises:
        MediaError: the folder cannot be written.
    """
    header = ["video", "region", "frame", "time", "frames"]
    for name in summary.metrics:
        header += [name, f"{name}_{COMPRESSED}", f"{name}_gain"]
    rows: list[list[object]] = []
    for region in summary.regions:
        for video in summary.videos:
            rows += _frame_rows(summary, video, region)
            rows.append([video.name, region, ALL_FRAMES, None, video.frames, *_numbers(summary, _means(video.scores[region]))])
        frames, total = sum(video.frames for video in summary.videos), _middles(summary.total(region))
        rows.append(["TOTAL", region, ALL_FRAMES, None, frames, *_numbers(summary, total)])
    return report.write_csv(folder / FILES[0], header, rows), report.write_json(folder / FILES[1], as_json(summary))


def _frame_rows(summary: Summary, video: VideoScores, region: str) -> Iterator[list[object]]:
    """Yield one row of metrics.csv per measured frame."""
    scores = video.scores[region]
    restored = scores[RESTORED]
    for position, (frame, time) in enumerate(zip(restored.frames, restored.times, strict=True)):
        means = {version: {name: score.values[position] for name, score in one.metrics.items()} for version, one in scores.items()}
        yield [video.name, region, frame, None if time is None else f"{float(time):.6f}", 1, *_numbers(summary, means)]


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as plain data."""
    return {
        "version": FORMAT_VERSION,
        "options": summary.options,
        "protocol": summary.protocol,
        "metrics": {name: _described(summary, find(name)) for name in summary.metrics},
        "videos": [
            {
                "name": video.name,
                "frames": video.frames,
                "files": video.files,
                **{region: _plain(summary, _of_clip(scores)) for region, scores in video.scores.items()},
            }
            for video in summary.videos
        ],
        "total": {
            "frames": sum(video.frames for video in summary.videos),
            **{region: _plain(summary, summary.total(region)) for region in summary.regions},
        },
        "failed": summary.failed,
        "missing": summary.missing,
        "unmeasured": summary.unmeasured,
    }


def _of_clip(scores: dict[str, Scores]) -> dict[str, dict[str, Statistics]]:
    """Return one clip's statistics by version and metric."""
    return {version: {name: of_clip(find(name), score) for name, score in one.metrics.items()} for version, one in scores.items()}


def _described(summary: Summary, metric: Metric) -> dict[str, Any]:
    """Return what a reader of metrics.json must know of a metric."""
    return {
        "label": metric.label,
        "unit": metric.unit,
        "better": metric.better,
        "higher_is_better": metric.higher_is_better,
        "summary": metric.summary,
        UNAVAILABLE: summary.unavailable.get(metric.name),
    }


def _plain(summary: Summary, statistics: dict[str, dict[str, Statistics]]) -> dict[str, Any]:
    """Return one region's means by version, the gains, and the spread of the means by version; null for what is unavailable."""
    means = _middles(statistics)
    data: dict[str, Any] = {version: {name: means[version].get(name) for name in summary.metrics} for version in statistics}
    if COMPRESSED in statistics:
        data["gain"] = {name: gain(find(name), means) for name in summary.metrics}
    spread = {version: {name: asdict(one) for name, one in named.items()} for version, named in statistics.items()}
    return {**data, "statistics": spread}


def _numbers(summary: Summary, means: Means) -> list[object]:
    """Return a CSV row's cells: restored, compressed, gain per metric."""
    cells: list[object] = []
    for name in summary.metrics:
        if name in summary.unavailable:
            cells += [UNAVAILABLE, UNAVAILABLE, None]
        else:
            cells += [*(means.get(version, {}).get(name) for version in (RESTORED, COMPRESSED)), gain(find(name), means)]
    return cells


def _cells(summary: Summary, names: Sequence[str], means: Means) -> list[str]:
    """Return a table row's cells."""
    cells = []
    for name in names:
        metric = find(name)
        if name in summary.unavailable:
            cells.append(f"[yellow]{UNAVAILABLE}[/yellow]")
            continue
        restored, compressed = (_text(metric, means.get(version, {}).get(name)) for version in (RESTORED, COMPRESSED))
        better = gain(metric, means)
        if better is None:
            cells.append(restored)
            continue
        color = "green" if better > 0 else "red" if better < 0 else "white"
        cells.append(f"{compressed} → {restored}\n[{color}]gain {better:+.{metric.decimals}f}[/{color}]")
    return cells


def _text(metric: Metric, value: float | None) -> str:
    return "-" if value is None else f"{value:.{metric.decimals}f}"
