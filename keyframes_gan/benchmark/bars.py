"""Judging results by the bars of the options: what was measured, what is wanted, and whether it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from keyframes_gan.benchmark.run import Results
from keyframes_gan.benchmark.totals import SPEED, costs, mean_bd_rate, rate_series
from keyframes_gan.options.bars import Gain, Saving, Speed
from keyframes_gan.report.grid import Column

Verdict = Literal["met", "NOT met", "not measured"]


@dataclass(frozen=True)
class Judged:
    """One bar.

    `measured` and `wanted` in words, with their unit; `value` in the unit of the metric, None where nothing was measured; then `why`.
    """

    name: str
    what: str
    verdict: Verdict
    measured: str
    wanted: str
    value: float | None = None
    why: str = ""

    @property
    def told(self) -> str:
        """What was measured, or why nothing was, and what is wanted."""
        return f"{self.measured if self.value is not None else self.why}; wanted {self.wanted}"

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.verdict:12} {self.what}: {self.told}"

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def judge(results: Results) -> list[Judged]:
    """Return every bar of the options, judged, in their order."""
    return [_judged(results, name, bar) for name, bar in results.options.bars.items()]


def all_met(judged: Sequence[Judged], results: Results) -> bool:
    """Tell whether every bar is met; one that an optional method alone leaves unmeasured is no hindrance."""
    bars = results.options.bars
    return all(one.verdict == "met" or (one.value is None and _is_optional(results, bars[one.name])) for one in judged)


def _is_optional(results: Results, bar: Gain | Saving | Speed) -> bool:
    return any(getattr(results.options.methods[name], "optional", False) for name in bar.users)


def _judged(results: Results, name: str, bar: Gain | Saving | Speed) -> Judged:
    if isinstance(bar, Gain):
        return _gain(results, name, bar)
    return _saving(results, name, bar) if isinstance(bar, Saving) else _speed(results, name, bar)


def _gain(results: Results, name: str, bar: Gain) -> Judged:
    column = _column(results, bar.metric)
    threshold = bar.at_least if bar.at_least is not None else bar.above or 0.0
    where = "in the mean" if bar.of == "mean" else "on every clip"
    wanted = f"{'at least' if bar.at_least is not None else 'above'} {_signed(column, threshold)} {where}"
    gains = _gains(results, bar, column)
    if isinstance(gains, str):
        return Judged(name, bar.what, "not measured", "", wanted, why=gains)
    least = min(gains, key=lambda place: gains[place])
    value = gains[least] if bar.of == "each" else sum(gains.values()) / len(gains)
    met = value >= threshold if bar.at_least is not None else value > threshold
    mean = f"{_signed(column, value)} in the mean, " if bar.of == "mean" else ""
    measured = f"{column.label} {mean}{_signed(column, gains[least])} at least ({least})"
    return Judged(name, bar.what, "met" if met else "NOT met", measured, wanted, value)


def _gains(results: Results, bar: Gain, column: Column) -> dict[str, float] | str:
    """Return by clip and degradation what is gained there, or why that is not known."""
    if column.reason:
        return f"{column.label} {column.reason}"
    pair = (bar.method, bar.over or results.options.anchor)
    cells = {(cell.case, cell.method): cell for cell in results.cells if cell.case.degradation in bar.degradations}
    found = {}
    for case in dict.fromkeys(case for case, method in cells if method == bar.method):
        value, base = (None if cell.scores is None else cell.scores.mean(column.key) for cell in (cells[case, name] for name in pair))
        if value is None or base is None:
            failures = [cells[case, name].failure for name in pair if cells[case, name].failure]
            return f"{case.clip}: {'; '.join(failures) or f'{column.label} has no value there'}"
        place = case.clip if len(bar.degradations) == 1 else f"{case.clip}, {case.degradation}"
        found[place] = value - base if column.higher_is_better else base - value
    return found or "no clip has these degradations"


def _column(results: Results, metric: str) -> Column:
    return next(one for one in results.columns if one.key == metric)


def _signed(column: Column, value: float) -> str:
    return f"{column.signed(value)}{f' {column.unit}' if column.unit else ''}"


def _saving(results: Results, name: str, bar: Saving) -> Judged:
    column = _column(results, bar.metric)
    wanted = f"below {bar.below:+.1f} % bits at the same {column.label}"
    found: dict[str, float] = {}
    reasons = []
    for series in rate_series(results):
        if set(bar.degradations) == set(series.degradations):
            for method in bar.methods:
                value, reason = mean_bd_rate(results, series, method, column)
                if value is None:
                    reasons.append(f"{method}: {reason}")
                else:
                    found[method] = value
    if not found:
        return Judged(name, bar.what, "not measured", "", wanted, why="; ".join(reasons) or "the degradations are no ladder of rates")
    least = min(found.values())
    measured = ", ".join(f"{method} {value:+.1f} %" for method, value in found.items())
    return Judged(name, bar.what, "met" if least < bar.below else "NOT met", measured, wanted, least)


def _speed(results: Results, name: str, bar: Speed) -> Judged:
    cells = [cell for cell in results.cells if cell.method == bar.method and cell.case.degradation in bar.degradations]
    wanted = f"at least {bar.at_least:g} frames/s"
    value = costs(cells)[SPEED.key]
    if value is None:
        why = "; ".join(dict.fromkeys(cell.failure for cell in cells if cell.failure))
        return Judged(name, bar.what, "not measured", "", wanted, why=why or "no clip has these degradations")
    measured = f"{value:.1f} frames/s ({results.protocol['threads']} threads, load before {results.protocol['load_before']})"
    return Judged(name, bar.what, "met" if value >= bar.at_least else "NOT met", measured, wanted, value)
