"""One table in several languages."""

from __future__ import annotations

import pytest

from keyframes_gan.report.grid import Column, Grid, Row, csv_rows, latex, markdown, notes

COLUMNS = (
    Column("rate", "rate", "kbit/s", None, 0),
    Column("psnr", "PSNR", "dB", True, 2),
    Column("lpips", "LPIPS", "", False, 3),
    Column("fid", "FID", "", False, 1, reason="no weights"),
)
GRID = Grid(
    "t",
    ("degradation", "method"),
    COLUMNS,
    (
        Row(("crf_42", "input"), {"rate": 41.6, "psnr": 30.0, "lpips": 0.2}, {}),
        Row(("crf_42", "a|b"), {"rate": 41.6, "psnr": 30.504, "lpips": 0.25}, {"psnr": 0.504, "lpips": -0.05}),
        Row(("crf_42", "paper"), {"psnr": 99.0}, {}, source="Somebody 2024"),
        Row(("crf_47", "input"), {"rate": 20.0, "psnr": 25.0, "lpips": 0.3}, {}),
        Row(("crf_47", "c"), {}, {}, failure="no face"),
    ),
)


def test_markdown() -> None:
    lines = markdown(GRID).splitlines()
    assert lines[0] == "| degradation | method | rate [kbit/s] | PSNR [dB] ↑ | LPIPS ↓ | FID ↓ |"
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| crf_42 | input | 42 | 30.00 | **0.200** | unavailable |"
    assert lines[3] == "| crf_42 | a\\|b | 42 | **30.50** (+0.50) | 0.250 (-0.050) | unavailable |"
    assert lines[4] == "| crf_42 | paper |  | 99.00 |  | unavailable |"
    assert lines[5] == "| crf_47 | input | 20 | 25.00 | 0.300 | unavailable |"
    assert [line for line in lines[7:] if line] == notes(GRID)


def test_notes_tell_what_is_missing() -> None:
    assert notes(GRID) == ["FID unavailable: no weights", "failed: crf_47, c: no face", "paper: Somebody 2024"]


def test_latex_is_escaped_and_bold() -> None:
    text = latex(GRID)
    assert text.count(r"\midrule") == 2
    assert r"crf\_42 & a|b & 42 & \textbf{30.50} & 0.250 &  \\" in text
    assert r"PSNR [dB] $\uparrow$" in text
    odd = Grid("", ("x & y",), (), (Row(("50%~\\",), {}, {}),))
    assert r"x \& y" in latex(odd)
    assert r"50\%\textasciitilde{}\textbackslash{}" in latex(odd)


def test_csv_keeps_all_digits() -> None:
    header, rows = csv_rows(GRID)
    assert header == ["degradation", "method", "rate", "psnr", "psnr_gain", "lpips", "lpips_gain", "fid", "fid_gain", "source", "failure"]
    assert rows[1] == ["crf_42", "a|b", 41.6, 30.504, 0.504, 0.25, -0.05, "unavailable", None, "measured", ""]
    assert rows[2][-2:] == ["Somebody 2024", ""]
    assert rows[4][-2:] == ["measured", "no face"]


@pytest.mark.parametrize(("values", "best"), [([1.0, 1.001], {0, 1}), ([1.0, None], set()), ([1.0, 1.2], {1})])
def test_best_as_far_as_the_decimals_tell(values: list[float | None], best: set[int]) -> None:
    rows = tuple(Row(("g", str(at)), {"psnr": value}, {}) for at, value in enumerate(values))
    grid = Grid("", ("g", "m"), (COLUMNS[1],), rows)
    assert grid.best(rows, COLUMNS[1]) == best


def test_no_sign_for_a_gain_that_rounds_to_nothing() -> None:
    assert [COLUMNS[1].text(value) for value in (-0.004, -0.006, None)] == ["0.00", "-0.01", ""]
    assert [COLUMNS[1].signed(value) for value in (0.004, -0.004, 0.006, -0.006)] == ["0.00", "0.00", "+0.01", "-0.01"]
