"""One table of results in four languages: Markdown, CSV, LaTeX, and (by `report.page`) HTML.

Values are in the metric's unit. A gain is against the table's baseline in the metric's good direction: above zero is better, whether high
or low values are good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

UNAVAILABLE = "unavailable"
BLANK = ""
ARROWS = {True: "↑", False: "↓", None: ""}
LATEX_ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    `higher_is_better` is None for facts that are neither, such as the bits. `reason`: why nothing could be measured, None when it could.
    """

    key: str
    label: str
    unit: str = ""
    higher_is_better: bool | None = None
    decimals: int = 2
    reason: str | None = None
    summary: str = ""

    @property
    def heading(self) -> str:
        """Label, unit, and which direction is better."""
        return f"{self.label}{f' [{self.unit}]' if self.unit else ''}{' ' if self.higher_is_better is not None else ''}{self.arrow}"

    @property
    def arrow(self) -> str:
        """Which direction is better, as an arrow; nothing where neither is."""
        return ARROWS[self.higher_is_better]

    def text(self, value: float | None) -> str:
        """Return a value as it is shown; nothing where it is not known."""
        return BLANK if value is None else f"{value if round(value, self.decimals) else 0.0:.{self.decimals}f}"

    def signed(self, gain: float) -> str:
        """Return a gain as it is shown, its sign always with it."""
        text = f"{gain:+.{self.decimals}f}"
        return text if float(text) else f"{0:.{self.decimals}f}"


@dataclass(frozen=True)
class Row:
    """One line: as many `names` as the table has heads, then values and gains by column; a missing one is not known.

    `source`: where published numbers come from, "" for what was measured here. `failure`: why nothing was measured. `note`: what else
    there is to say.
    """

    names: tuple[str, ...]
    values: dict[str, float | None]
    gains: dict[str, float | None]
    source: str = ""
    failure: str = ""
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A table. Rows of equal names, the last one apart, form a group; the best value of each group is set off.

    `baseline`: what the gains are against. `hints`: lines to read below the table.
    """

    title: str
    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str = ""
    hints: tuple[str, ...] = ()

    @property
    def groups(self) -> list[list[Row]]:
        """The rows, those that may be compared together in one list."""
        return [list(rows) for _, rows in groupby(self.rows, key=lambda row: row.names[:-1])]

    @property
    def has_gains(self) -> bool:
        """Whether there is a gain to explain."""
        return any(gain is not None for row in self.rows for gain in row.gains.values())

    def best(self, group: Sequence[Row], column: Column) -> set[int]:
        """Return the positions in `group` of the best measured values, as far as the shown decimals tell; none among fewer than two."""
        if column.higher_is_better is None:
            return set()
        known = {at: float(column.text(value)) for at, row in enumerate(group) if (value := row.values.get(column.key)) is not None}
        known = {at: value for at, value in known.items() if not group[at].source}
        if len(known) <= 1:
            return set()
        best = max(known.values()) if column.higher_is_better else min(known.values())
        return {at for at, value in known.items() if value == best}


def markdown(grid: Grid) -> str:
    """Return the table in GitHub's Markdown: the gain in brackets, the best of each group in bold."""
    heads = [*grid.heads, *(column.heading for column in grid.columns)]
    lines = [_pipes(heads), _pipes(["---"] * len(grid.heads) + ["---:"] * len(grid.columns))]
    for group in grid.groups:
        for at, row in enumerate(group):
            cells = [_markdown_cell(grid, group, at, column) for column in grid.columns]
            lines.append(_pipes([*(_escaped(name) for name in row.names), *cells]))
    return "\n".join([*lines, *_notes(grid, "\n")]) + "\n"


def latex(grid: Grid) -> str:
    """Return the table as a LaTeX tabular (package booktabs): the best of each group in bold."""
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(grid.heads)}{'r' * len(grid.columns)}}}",
        r"\toprule",
        " & ".join([*(_tex(head) for head in grid.heads), *(_latex_heading(column) for column in grid.columns)]) + r" \\",
    ]
    for group in grid.groups:
        lines.append(r"\midrule")
        best = {column.key: grid.best(group, column) for column in grid.columns}
        for at, row in enumerate(group):
            cells = [_tex(name) for name in row.names]
            for column in grid.columns:
                text = column.text(row.values.get(column.key))
                cells.append(rf"\textbf{{{text}}}" if at in best[column.key] else text)
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_rows(grid: Grid) -> tuple[list[str], list[list[object]]]:
    """Return header and rows for `report.write_csv`, with unrounded values, a gain beside each, and where they come from."""
    header = [head.lower().replace(" ", "_") for head in grid.heads]
    for column in grid.columns:
        header += [column.key] if column.higher_is_better is None else [column.key, f"{column.key}_gain"]
    rows: list[list[object]] = []
    for row in grid.rows:
        cells: list[object] = list(row.names)
        for column in grid.columns:
            value = row.values.get(column.key)
            cells.append(UNAVAILABLE if column.reason and value is None else value)
            if column.higher_is_better is not None:
                cells.append(row.gains.get(column.key))
        rows.append([*cells, row.source or "measured", row.failure])
    return [*header, "source", "failure"], rows


def notes(grid: Grid) -> list[str]:
    """Return a line for everything the table cannot show: metrics that could not be taken, rows that failed, sources."""
    return _notes(grid, "")


def _notes(grid: Grid, before: str) -> list[str]:
    lines = [f"{before}{column.label} {UNAVAILABLE}: {column.reason}" for column in grid.columns if column.reason]
    lines += [f"{before}{hint}" for hint in grid.hints]
    lines += [f"{before}failed: {', '.join(row.names)}: {row.failure}" for row in grid.rows if row.failure]
    lines += [f"{before}{', '.join(row.names)}: {row.note}" for row in grid.rows if row.note]
    return lines + list(dict.fromkeys(f"{before}{row.names[-1]}: {row.source}" for row in grid.rows if row.source))


def _markdown_cell(grid: Grid, group: Sequence[Row], at: int, column: Column) -> str:
    row = group[at]
    value, gain = row.values.get(column.key), row.gains.get(column.key)
    if value is None:
        return UNAVAILABLE if column.reason else BLANK
    text = column.text(value)
    shown = f"**{text}**" if at in grid.best(group, column) else text
    return shown if gain is None else f"{shown} ({column.signed(gain)})"


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def _latex_heading(column: Column) -> str:
    unit = f" [{_tex(column.unit)}]" if column.unit else ""
    return f"{_tex(column.label)}{unit}{LATEX_ARROWS[column.higher_is_better]}"
