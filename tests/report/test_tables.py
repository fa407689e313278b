"""Tables on the screen."""

from __future__ import annotations

from rich.console import Console

from keyframes_gan import report
from keyframes_gan.report.grid import Column, Grid, Row


def test_a_grid_is_drawn_in_groups_with_gains_and_reasons() -> None:
    columns = (Column("psnr", "PSNR", "dB", True, 2), Column("fid", "FID", "", False, 1, reason="no [weights]"))
    rows = (
        Row(("set", "crf42", "input"), {"psnr": 30.0}, {}),
        Row(("set", "crf42", "[bold]odd"), {"psnr": 31.0}, {"psnr": 1.0}),
        Row(("set", "crf47", "paper"), {"psnr": 29.0}, {}, source="Somebody"),
    )
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        report.print_table(report.drawn_grid(Grid("Results", ("data set", "degradation", "method"), columns, rows)), console=console)
    lines = [" ".join(line.replace("│", " ").split()) for line in captured.get().splitlines()]
    assert "┃ method ┃ dB ↑ ┃ ↓ ┃" in lines
    for line in (
        "set · crf42",
        "input 30.00 unavailable",
        "[bold]odd 31.00 unavailable",
        "+1.00",
        "set · crf47",
        "paper 29.00 unavailable",
    ):
        assert line in lines
    assert "FID unavailable: no [weights]" in lines
    assert "paper: Somebody" in lines
