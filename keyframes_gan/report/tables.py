"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

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


def print_table(drawn: Table, *, console: Console | None = None) -> None:
    """Print a table to standard output; 120 columns wide where that is no terminal."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=NON_TERMINAL_WIDTH)
    console.print(drawn)


def heading(name: str, unit: str, *, higher_is_better: bool) -> str:
    """Return a metric's column heading: name, unit, and which direction is better."""
    return f"{name}{f' [{unit}]' if unit else ''}\n{ARROWS[higher_is_better]}".replace("[", r"\[")
