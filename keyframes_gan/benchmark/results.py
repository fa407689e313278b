"""Results as tables and files: what a row of the table is, BD-rates, and everything as JSON and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keyframes_gan import report
from keyframes_gan.benchmark.bars import judge
from keyframes_gan.benchmark.run import Cell, Results
from keyframes_gan.benchmark.totals import (
    GPU_MEMORY,
    MACS,
    MEMORY,
    RATE,
    SPEED,
    costs,
    has_rate,
    kbit_per_second,
    mean_bd_rate,
    rate_series,
    total_of,
)
from keyframes_gan.options import plain
from keyframes_gan.options.benchmark import PairedSet
from keyframes_gan.report.grid import Column, Grid, Row, csv_rows, latex, markdown

FORMAT_VERSION = 1
SCREEN_WIDTH = 160
HEADS = ("data set", "degradation", "method")
FACTS = (RATE, SPEED, MEMORY, GPU_MEMORY, MACS)
BLANK_COST = "peak memory and cost are taken of restorers alone; filters share the benchmark's process and have no network"


def results_grid(results: Results) -> Grid:
    """Return the table: a row for every method in every degradation of every data set, and published numbers below."""
    rows: list[Row] = []
    for dataset in results.options.datasets:
        for degradation in results.options.degradations_of(dataset):
            group = [cell for cell in results.cells if (cell.case.dataset, cell.case.degradation) == (dataset, degradation)]
            rows += [_row(results, (dataset, degradation, method), group) for method in results.options.methods_for(degradation)]
            rows += _published(results, dataset, degradation)
    facts = [column for column in FACTS if any(row.values.get(column.key) is not None for row in rows)]
    hints = (BLANK_COST,) if MEMORY in facts or MACS in facts else ()
    return Grid("Results", HEADS, (*results.columns, *facts), tuple(rows), results.options.anchor, hints)


def rate_grid(results: Results) -> Grid | None:
    """Return the BD-rates against the baseline: the mean over the clips of a data set; None where there are not enough rates."""
    series = rate_series(results)
    shown = [one for one in results.columns if any(has_rate(results, one, each) for each in series)]
    columns = tuple(Column(one.key, one.label, "% bits", False, 1, summary=one.summary) for one in shown)
    rows = []
    for each in series:
        for method in each.methods(results):
            if method == results.options.anchor:
                continue
            values, reasons = {}, []
            for column in shown:
                if has_rate(results, column, each):
                    values[column.key], reason = mean_bd_rate(results, each, method, column)
                    reasons += [f"{column.label}: {reason}"] if reason else []
            rows.append(Row((each.name, method), values, {}, note="; ".join(reasons)))
    if not rows or not columns:
        return None
    return Grid(f"Bits for the same quality as {results.options.anchor} (BD-rate)", ("data set", "method"), columns, tuple(rows))


def print_results(results: Results) -> None:
    """Print the tables to standard output."""
    for grid in (results_grid(results), rate_grid(results)):
        if grid is not None:
            report.print_table(report.drawn_grid(grid), width=SCREEN_WIDTH)


def write_results(results: Results, output: Path) -> list[Path]:
    """Write table.md, table.csv, table.tex, results.json and frames.csv, and return their paths.

    Raises:
        MediaError: the folder cannot be written.
    """
    grid, rates = results_grid(results), rate_grid(results)
    text = f"# {title(results)}\n\n{markdown(grid)}"
    if rates is not None:
        text += f"\n## {rates.title}\n\n{markdown(rates)}"
    if results.options.bars:
        text += "\n## Bars\n\n" + "".join(f"- {one.verdict}: {one.what}: {one.told}\n" for one in judge(results))
    return [
        report.write_bytes(text.encode(), output / "table.md"),
        report.write_csv(output / "table.csv", *csv_rows(grid)),
        report.write_bytes(latex(grid).encode(), output / "table.tex"),
        report.write_json(output / "results.json", as_json(results, grid, rates)),
        report.write_csv(output / "frames.csv", *_frames(results)),
    ]


def title(results: Results) -> str:
    """Return what tables and report are called."""
    return results.options.title or results.options.name


def as_json(results: Results, grid: Grid, rates: Grid | None) -> dict[str, Any]:
    """Return everything as plain data: protocol, options, rows with statistics, BD-rates, and what was found for each clip."""
    return {
        "version": FORMAT_VERSION,
        "title": title(results),
        "protocol": results.protocol,
        "options": plain(results.options),
        "metrics": {column.key: {**asdict(column), "unavailable": column.reason} for column in results.columns},
        "baseline": results.options.anchor,
        "rows": [_row_json(results, row) for row in grid.rows],
        "bd_rate": [dict(zip(rates.heads, row.names, strict=True)) | {"percent": row.values} for row in rates.rows] if rates else [],
        "bars": [one.as_json() for one in judge(results)],
        "clips": [_cell_json(cell) for cell in results.cells],
    }


def _row(results: Results, names: tuple[str, str, str], group: Sequence[Cell]) -> Row:
    """Return one method's row; a method that failed on a clip has no values, since they would be over other clips than the others'."""
    mine = [cell for cell in group if cell.method == names[2]]
    failure = "; ".join(dict.fromkeys(f"{cell.case.clip}: {cell.failure}" for cell in mine if cell.failure))
    if failure:
        return Row(names, {}, {}, failure=failure)
    base = [cell for cell in group if cell.method == results.options.anchor]
    values = {column.key: total_of(column.key, mine).mean for column in results.columns}
    gains: dict[str, float | None] = {}
    if names[2] != results.options.anchor and not any(cell.failure for cell in base):
        for column in results.columns:
            gains[column.key] = _gain(column, values[column.key], total_of(column.key, base).mean)
    if not isinstance(results.options.datasets[names[0]], PairedSet):
        values[RATE.key] = kbit_per_second(mine)
    values |= costs(mine)
    notes = dict.fromkeys(f"{cell.case.clip}: {note}" for cell in mine for note in cell.notes)
    return Row(names, values, gains, note="; ".join(notes))


def _published(results: Results, dataset: str, degradation: str) -> list[Row]:
    """Return the rows of published numbers, which may have other metrics than those measured: these are left out."""
    shown = {column.key for column in results.columns}
    return [
        Row((dataset, degradation, row.method), {key: value for key, value in row.metrics.items() if key in shown}, {}, source=row.source)
        for row in results.options.paper
        if (row.dataset, row.degradation) == (dataset, degradation)
    ]


def _gain(column: Column, value: float | None, base: float | None) -> float | None:
    if value is None or base is None or column.higher_is_better is None:
        return None
    return value - base if column.higher_is_better else base - value


def _row_json(results: Results, row: Row) -> dict[str, Any]:
    names = dict(zip(("dataset", "degradation", "method"), row.names, strict=True))
    cells = [cell for cell in results.cells if (cell.case.dataset, cell.case.degradation, cell.method) == row.names]
    measured = {column.key: asdict(total_of(column.key, cells)) for column in results.columns} if cells and not row.failure else {}
    return {**names, "values": row.values, "gains": row.gains, "statistics": measured, "source": row.source, "failure": row.failure}


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "dataset": cell.case.dataset,
        "clip": cell.case.clip,
        "degradation": cell.case.degradation,
        "method": cell.method,
        "frames": cell.frames,
        "duration_seconds": cell.duration,
        "bits": cell.bits,
        "key_frame_bits": cell.key_bits,
        "photo_bits": cell.photo_bits,
        "sent_key_bits": cell.sent_bits,
        **asdict(cell.cost),
        "notes": cell.notes,
        "metrics": {name: one.value for name, one in cell.scores.metrics.items()} if cell.scores else {},
        "failure": cell.failure,
    }


def _frames(results: Results) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of the table of single frames."""
    keys = [column.key for column in results.columns]
    rows: list[list[object]] = []
    for cell in results.cells:
        if cell.scores is None:
            continue
        names = [cell.case.dataset, cell.case.clip, cell.case.degradation, cell.method]
        series = [cell.scores.metrics[key].values if key in cell.scores.metrics else () for key in keys]
        for at, frame in enumerate(cell.scores.frames):
            time = cell.scores.times[at]
            values = [one[at] if at < len(one) else None for one in series]
            rows.append([*names, frame, None if time is None else float(time), *values])
    return ["dataset", "clip", "degradation", "method", "frame", "seconds", *keys], rows
