"""What was measured, as tables on the screen and as metrics.csv and metrics.json.

A gain is restored against compressed in the metric's good direction: positive is better, whether high or low values are good.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keyframes_gan import report
from keyframes_gan.measure.streams import FACE, WHOLE, RegionScores, Scores
from keyframes_gan.metrics import METRICS, Metric

RESTORED, COMPRESSED = "restored", "compressed"
TITLES = {WHOLE: "Whole picture", FACE: "Faces only"}
UNAVAILABLE = "unavailable"
FORMAT_VERSION = 1


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

    @property
    def complete(self) -> bool:
        """True when every video was found and measured."""
        return not self.failed and not self.missing

    @property
    def regions(self) -> list[str]:
        """The regions that were measured."""
        return [region for region in (WHOLE, FACE) if any(region in video.scores for video in self.videos)]

    def total(self, region: str) -> dict[str, Scores]:
        """Return the scores over all frames of all videos, by version.

        A version that only some videos have is not given: its mean would be over other frames.
        """
        parts = [video.scores[region] for video in self.videos]
        versions = [version for version in (RESTORED, COMPRESSED) if parts and all(version in part for part in parts)]
        return {version: sum((part[version] for part in parts), Scores()) for version in versions}


def gain(metric: Metric, scores: dict[str, Scores]) -> float | None:
    """Return how much better restored is than compressed; None where one of them is not known."""
    restored, compressed = _mean(scores, RESTORED, metric.name), _mean(scores, COMPRESSED, metric.name)
    if restored is None or compressed is None:
        return None
    return restored - compressed if metric.higher_is_better else compressed - restored


def tables(summary: Summary) -> list[Table]:
    """Return one table per region: a row per video, the total below, `compressed -> restored` and the gain in every cell."""
    chosen = [METRICS[name] for name in summary.metrics]
    columns = [
        "Video",
        "Frames",
        *(report.heading(metric.label, metric.unit, higher_is_better=metric.higher_is_better) for metric in chosen),
    ]
    drawn = []
    for region in summary.regions:
        rows = [[escape(video.name), str(video.frames), *_cells(summary, video.scores[region])] for video in summary.videos]
        total = ["Total", str(sum(video.frames for video in summary.videos)), *_cells(summary, summary.total(region))]
        note = "compressed → restored; gain: positive is better" if any(COMPRESSED in v.scores[region] for v in summary.videos) else ""
        drawn.append(report.table(TITLES[region], columns, rows, total=total, note=note))
    return drawn


def print_summary(summary: Summary, *, console: Console | None = None) -> None:
    """Print the tables, then what could not be measured and why."""
    for drawn in tables(summary):
        report.print_table(drawn, console=console)
    out = console or Console(soft_wrap=True)
    for name, reason in summary.unavailable.items():
        out.print(f"{METRICS[name].label} {UNAVAILABLE}: {reason}", markup=False, highlight=False)
    for line in summary.missing:
        out.print(f"missing: {line}", markup=False, highlight=False)
    for name, error in summary.failed.items():
        out.print(f"failed: {name}: {error}", markup=False, highlight=False)


def write_summary(summary: Summary, folder: Path) -> tuple[Path, Path]:
    """Write metrics.csv and metrics.json into `folder` and return their paths.

    Raises:
        MediaError: the folder cannot be written.
    """
    header = ["video", "region", "frames"]
    for name in summary.metrics:
        header += [name, f"{name}_{COMPRESSED}", f"{name}_gain"]
    rows: list[list[object]] = []
    for region in summary.regions:
        rows += [[video.name, region, video.frames, *_numbers(summary, video.scores[region])] for video in summary.videos]
        rows.append(["TOTAL", region, sum(video.frames for video in summary.videos), *_numbers(summary, summary.total(region))])
    return report.write_csv(folder / "metrics.csv", header, rows), report.write_json(folder / "metrics.json", as_json(summary))


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as plain data."""
    return {
        "version": FORMAT_VERSION,
        "options": summary.options,
        "metrics": {name: _described(summary, METRICS[name]) for name in summary.metrics},
        "videos": [
            {
                "name": video.name,
                "frames": video.frames,
                "files": video.files,
                **{region: _plain(summary, scores) for region, scores in video.scores.items()},
            }
            for video in summary.videos
        ],
        "total": {
            "frames": sum(video.frames for video in summary.videos),
            **{region: _plain(summary, summary.total(region)) for region in summary.regions},
        },
        "failed": summary.failed,
        "missing": summary.missing,
    }


def _described(summary: Summary, metric: Metric) -> dict[str, Any]:
    """Return what a reader of metrics.json must know of a metric."""
    return {
        "label": metric.label,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "summary": metric.summary,
        UNAVAILABLE: summary.unavailable.get(metric.name),
    }


def _plain(summary: Summary, scores: dict[str, Scores]) -> dict[str, Any]:
    """Return one region's means by version, and the gains."""
    data: dict[str, Any] = {version: {name: one.mean(name) for name in summary.metrics} for version, one in scores.items()}
    if COMPRESSED in scores:
        data["gain"] = {name: gain(METRICS[name], scores) for name in summary.metrics}
    return data


def _numbers(summary: Summary, scores: dict[str, Scores]) -> list[object]:
    """Return a CSV row's cells: restored, compressed, gain per metric."""
    cells: list[object] = []
    for name in summary.metrics:
        if name in summary.unavailable:
            cells += [UNAVAILABLE, UNAVAILABLE, None]
        else:
            cells += [_mean(scores, RESTORED, name), _mean(scores, COMPRESSED, name), gain(METRICS[name], scores)]
    return cells


def _cells(summary: Summary, scores: dict[str, Scores]) -> list[str]:
    """Return a table row's cells."""
    cells = []
    for name in summary.metrics:
        metric = METRICS[name]
        if name in summary.unavailable:
            cells.append(f"[yellow]{UNAVAILABLE}[/yellow]")
            continue
        restored, compressed = _text(metric, _mean(scores, RESTORED, name)), _mean(scores, COMPRESSED, name)
        better = gain(metric, scores)
        if better is None:
            cells.append(restored)
            continue
        color = "green" if better > 0 else "red" if better < 0 else "white"
        cells.append(f"{_text(metric, compressed)} → {restored}\n[{color}]gain {better:+.{metric.decimals}f}[/{color}]")
    return cells


def _text(metric: Metric, value: float | None) -> str:
    return "-" if value is None else f"{value:.{metric.decimals}f}"


def _mean(scores: dict[str, Scores], version: str, name: str) -> float | None:
    return scores[version].mean(name) if version in scores else None
