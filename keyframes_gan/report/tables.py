"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keyframes_gan.report.grid import UNAVAILABLE, Column, Grid, Row, notes

NON_TERMINAL_WIDTH = 120
ARROWS = {True: "↑ higher is better", False: "↓ lower is better"}


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, total: Sequence[str] | None = None, note: str = ""
) -> Table:
    """Return a table of text cells: first column left, the others right, `total` set off below, `note` as caption.

    Cells may hold rich's markup, such as `[green]+1.20[/green]`.
    """
    drawn = Table(title=title, caption=note or None, show_footer=False, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    if total is not None:
        drawn.add_section()
        drawn.add_row(*total, style="bold")
    return drawn


def print_table(drawn: Table, *, console: Console | None = None, width: int = NON_TERMINAL_WIDTH) -> None:
    """Print a table to standard output; `width` columns wide where that is no terminal."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=width)
    console.print(drawn)


def heading(name: str, unit: str, *, higher_is_better: bool) -> str:
    """Return a metric's column heading: name, unit, and which direction is better."""
    return f"{name}{f' [{unit}]' if unit else ''}\n{ARROWS[higher_is_better]}".replace("[", r"\[")


def drawn_grid(grid: Grid) -> Table:
    """Return a grid of results as a table, a part for each group: under each value the gain, green or red, the best in bold."""
    heads = [escape(f"{column.label}\n{column.unit} {column.arrow}") for column in grid.columns]
    shown = table(escape(grid.title), [grid.heads[-1], *heads], [], note=escape("\n".join(notes(grid))))
    for group in grid.groups:
        if len(grid.heads) > 1:
            shown.add_row(escape(" · ".join(group[0].names[:-1])), style="bold")
        best = {column.key: grid.best(group, column) for column in grid.columns}
        for at, row in enumerate(group):
            cells = [_cell(row, column, best=at in best[column.key]) for column in grid.columns]
            shown.add_row(f"  {escape(row.names[-1])}", *cells, style="italic" if row.source else None)
        shown.add_section()
    return shown


def _cell(row: Row, column: Column, *, best: bool) -> str:
    value, gain = row.values.get(column.key), row.gains.get(column.key)
    if value is None:
        return f"[yellow]{UNAVAILABLE}[/yellow]" if column.reason else ""
    text = f"[bold]{column.text(value)}[/bold]" if best else column.text(value)
    if gain is None:
        return text
    signed = column.signed(gain)
    color = {"+": "green", "-": "red"}.get(signed[0], "white")
    return f"{text}\n[{color}]{signed}[/{color}]"
