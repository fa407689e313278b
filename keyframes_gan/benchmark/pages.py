"""The report of a benchmark, and the same page for one restored video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyframes_gan import report
from keyframes_gan.benchmark.bars import judge
from keyframes_gan.benchmark.plan import Case
from keyframes_gan.benchmark.results import rate_grid, results_grid, title
from keyframes_gan.benchmark.run import Cell, Results
from keyframes_gan.benchmark.score import Asked, Scores, columns, protocol_of, score
from keyframes_gan.benchmark.totals import Series, rate_curve, rate_series
from keyframes_gan.metrics import DEFAULT, METRICS
from keyframes_gan.options.benchmark import ORIGINAL
from keyframes_gan.report.charts import Axis, Line, line_chart
from keyframes_gan.report.evidence import gather
from keyframes_gan.report.grid import Column, Grid, Row
from keyframes_gan.report.page import Chart, ChartGroup, Page, Show, write_page
from keyframes_gan.report.people import people_grid
from keyframes_gan.video.packets import stream_cost
from keyframes_gan.video.read import probe

INPUT, RESTORED = "input", "restored"
TOLD_APART = ("routes", "identity")
"""What of a pass stands in a table of its own."""
STYLES = 8
SHEET_PX = 160
RATE_TEXT = "Bits of the degraded pictures; those of their key frames, and of photos and key frames sent beside them, are counted."
FRAME_TEXT = "Dotted lines: key frames of the input."


def write_report(results: Results, path: Path) -> list[Path]:
    """Write a benchmark's report and, for other documents, its close-ups as pictures beside it; return the paths, the report first.

    Raises:
        UserError: a product cannot be read, or the report not written.
    """
    rates = rate_grid(results)
    around = results.protocol
    cells = results.cells
    clips = len({(cell.case.dataset, cell.case.clip) for cell in cells})
    page = Page(
        title=title(results),
        lead=f"{len(results.options.methods)} methods on {clips} clips; {around['date']}, commit {around['commit']}.",
        grids=(results_grid(results), *([rates] if rates is not None else [])),
        charts=tuple(_rate_charts(results, series) for series in rate_series(results)),
        shows=tuple(_shown(results)),
        facts=(*((one.what, f"{one.verdict}: {one.told}") for one in judge(results)), *facts(around)),
    )
    return [*write_page(page, path), *(_sheet(show, path.with_name(f"close_ups_{at}.png")) for at, show in enumerate(page.shows, 1))]


def _sheet(show: Show, path: Path) -> Path:
    """Write the close-ups of a clip, one row for each place, one column for each version."""
    evidence = show.evidence
    rows = [[close.pictures[name] for name in evidence.versions] for close in evidence.close_ups]
    return report.contact_sheet(rows, evidence.versions, path, cell_height_px=SHEET_PX)


def video_report(
    path: Path,
    given: Path,
    restored: Path,
    *,
    original: Path | None = None,
    metrics: Sequence[str] = DEFAULT,
    about: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> list[Path]:
    """Write the report of one video: input against restored, and against the original when there is one.

    Args:
        path: the HTML file.
        given: the video that was restored.
        restored: what became of it.
        original: what both should look like; without it only metrics that need none are taken.
        metrics: which to take.
        about: what else to tell below, by name.
        device: where metrics run.

    Returns:
        The paths written, the report first.

    Raises:
        UserError: the videos do not belong together, or the report cannot be written.
    """
    names = tuple(name for name in metrics if original is not None or not METRICS[name].uses_original)
    asked = Asked(names, device=device)
    shown = columns(asked)
    truth = restored if original is None else original
    versions = {INPUT: given, RESTORED: restored}
    outcomes = score(truth, _of_one_size(versions, truth), asked)
    curves = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Scores)}
    rows = tuple(_video_row(name, outcomes.get(name), curves, shown) for name in versions)
    cost = stream_cost(given)
    evidence = gather(versions if original is None else {ORIGINAL: original, **versions}, before=INPUT, after=RESTORED)
    protocol = protocol_of(asked, 1)
    about = about or {}
    people = people_grid(about)
    page = Page(
        title=restored.name,
        lead=f"{given.name} restored, {cost.frames} frames; {protocol['date']}, commit {protocol['commit']}.",
        grids=(Grid("Scores", ("version",), shown, rows, INPUT), *([people] if people is not None else [])),
        shows=(Show("Pictures", evidence, _curves(curves, shown, cost.key_frames)),),
        facts=(*facts({name: value for name, value in about.items() if name not in TOLD_APART}), *facts(protocol)),
    )
    return write_page(page, path)


def facts(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return plain data as (name, text), nested names joined; what is not known is left out."""
    told: list[tuple[str, str]] = []
    for key, value in values.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            told += [(f"{name}: {inner}", text) for inner, text in facts(value)]
        elif value not in (None, "", [], ()):
            text = ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
            told.append((name, text))
    return tuple(told)


def _of_one_size(versions: Mapping[str, Path], truth: Path) -> dict[str, Path]:
    """Return the versions that have the size of `truth`, the only ones that can be measured against it."""
    info = probe(truth)
    sizes = {name: probe(path) for name, path in versions.items()}
    return {name: versions[name] for name, one in sizes.items() if (one.width, one.height) == (info.width, info.height)}


def _video_row(name: str, outcome: Scores | str | None, known: Mapping[str, Scores], shown: Sequence[Column]) -> Row:
    if outcome is None:
        return Row((name,), {}, {}, note="of another size, so it is shown but not measured")
    if isinstance(outcome, str):
        return Row((name,), {}, {}, failure=outcome)
    values = {column.key: outcome.mean(column.key) for column in shown}
    gains: dict[str, float | None] = {}
    if name == RESTORED and INPUT in known:
        for column in shown:
            value, base = values[column.key], known[INPUT].mean(column.key)
            if value is not None and base is not None:
                gains[column.key] = value - base if column.higher_is_better else base - value
    return Row((name,), values, gains)


def _rate_charts(results: Results, series: Series) -> ChartGroup:
    """Return rate against quality for a data set, a chart for every metric that could be taken."""
    charts = []
    for column in results.columns:
        lines = []
        for style, method in enumerate(results.options.methods):
            points = rate_curve(results, series, method, column.key)
            lines += [Line(method, tuple(points), style % STYLES)] if points else []
        if lines:
            label = column.heading.removesuffix(column.arrow).strip()
            charts.append(Chart(column.heading, line_chart(lines, Axis("kbit/s", log=True), Axis(label))))
    return ChartGroup(f"Rate against quality: {series.name}", tuple(charts), _legend(results.options.methods), RATE_TEXT)


def _shown(results: Results) -> Iterable[Show]:
    """Yield the pictures of the clips that the options want shown."""
    asked = results.options.report
    for dataset in results.options.datasets:
        every = results.options.degradations_of(dataset)
        degradation = asked.degradation if asked.degradation in every else every[-1]
        cells = [cell for cell in results.cells if (cell.case.dataset, cell.case.degradation) == (dataset, degradation)]
        for case in list(dict.fromkeys(cell.case for cell in cells))[: asked.clips]:
            show = _show(results, case, [cell for cell in cells if cell.case == case])
            if show is not None:
                yield show


def _show(results: Results, case: Case, cells: Sequence[Cell]) -> Show | None:
    """Return the pictures of one case; None where fewer than two methods made something."""
    asked = results.options.report
    wanted = asked.methods or list(results.options.methods)
    made = {cell.method: cell.product for cell in cells if cell.product is not None and not cell.failure and cell.method in wanted}
    products = {name: path for name, path in made.items() if path is not None}
    if len(products) <= 1:
        return None
    before = asked.before if asked.before in products else next(iter(products))
    after = asked.after if asked.after in products else list(products)[-1]
    evidence = gather({ORIGINAL: case.original, **products}, before=before, after=after)
    scores = {cell.method: cell.scores for cell in cells if cell.scores is not None}
    return Show(
        case.name.replace("/", " · "), evidence, _curves(scores, results.columns, evidence.key_frames, list(results.options.methods))
    )


def _curves(
    scores: Mapping[str, Scores], shown: Sequence[Column], key_frames: Sequence[int], methods: Sequence[str] = ()
) -> ChartGroup | None:
    """Return every metric frame by frame; None where no metric has a value for single frames."""
    order = list(methods or scores)
    charts = []
    for column in shown:
        lines = []
        for name, one in scores.items():
            values = one.metrics[column.key].values if column.key in one.metrics else ()
            points = tuple((float(at), value) for at, value in zip(one.frames, values, strict=False) if value is not None)
            lines += [Line(name, points, order.index(name) % STYLES)] if points else []
        if lines:
            label = column.heading.removesuffix(column.arrow).strip()
            charts.append(Chart(column.heading, line_chart(lines, Axis("frame"), Axis(label), marks=key_frames)))
    return ChartGroup("", tuple(charts), _legend(order), FRAME_TEXT) if charts else None


def _legend(names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple((name, at % STYLES) for at, name in enumerate(names))
