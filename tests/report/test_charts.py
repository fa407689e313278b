"""Charts: round ticks, positions, escaped names."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframes_gan.report.charts import MOST_POINTS, Axis, Line, line_chart, ticks


def numbers(path: str) -> list[float]:
    return [float(text) for text in re.findall(r"-?[\d.]+", path)]


def drawn(svg: str, kind: str) -> list[ElementTree.Element]:
    return [part for part in ElementTree.fromstring(svg).iter() if part.get("class", "").split(" ")[0] == kind]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0.9012, 0.9049, [0.902, 0.903, 0.904]),
        (29.8, 37.4, [30, 32, 34, 36]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_axis() -> None:
    assert ticks(30, 600, log=True) == [50, 100, 200, 500]
    assert ticks(0.5, 2000, log=True) == [1, 10, 100, 1000]
    assert ticks(29, 105, log=True) == [30, 40, 50, 60, 80, 100]
    assert ticks(100, 101, log=True) == pytest.approx([100, 100.2, 100.4, 100.6, 100.8, 101])


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6))
@settings(max_examples=100, deadline=None)
def test_ticks_lie_inside_and_are_a_handful(low: float, size: float) -> None:
    found = ticks(low, low + size)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 * size <= value <= low + size * (1 + 1e-6) for value in found)


def test_points_lie_where_their_values_say() -> None:
    """Equal steps in x are equal steps on the page; higher values are higher up; on a logarithmic axis equal ratios are equal steps."""
    svg = line_chart([Line("a", ((1, 5), (10, 7), (100, 6)), 0)], Axis("kbit/s", log=True), Axis("dB"))
    x0, y0, x1, y1, x2, y2 = numbers(drawn(svg, "line")[0].attrib["d"])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0
    assert len(drawn(svg, "dot")) == 3


@pytest.mark.parametrize("size", [1e-5, 0.00125, 0.3, 7.0, 4e4, 2e7])
def test_labels_are_short_and_say_the_value(size: float) -> None:
    svg = line_chart([Line("a", ((0, size), (1, 2 * size)), 0)], Axis("x"), Axis("y"))
    labels = [str(part.text) for part in ElementTree.fromstring(svg).iter("text") if part.get("text-anchor") == "end"]
    assert max(map(len, labels)) <= 7
    steps = np.diff([float(label) for label in labels])
    assert steps == pytest.approx(steps[0])


def test_long_lines_are_thinned_and_have_no_markers() -> None:
    svg = line_chart([Line("a", tuple((i, i % 7) for i in range(5000)), 1)], Axis("frame"), Axis("dB"), marks=[0, 2500, 9000])
    assert len(numbers(drawn(svg, "line")[0].attrib["d"])) <= 2 * MOST_POINTS
    assert drawn(svg, "dot") == []
    assert len(drawn(svg, "mark")) == 2


def test_names_are_escaped() -> None:
    svg = line_chart([Line('<b>&"', ((0, 1), (1, 1)), 0)], Axis("<x>"), Axis("&y"))
    root = ElementTree.fromstring(svg)
    assert '<b>&"' in root.attrib["aria-label"]
    assert {part.tag for part in root.iter()} == {"svg", "path", "text", "title"}


def test_constant_and_single_points_are_drawn() -> None:
    assert line_chart([Line("a", ((3, 2),), 0)], Axis("x", log=True), Axis("y"))
    with pytest.raises(ValueError, match="at least one point"):
        line_chart([Line("a", (), 0)], Axis("x"), Axis("y"))
