"""Line charts as inline SVG, coloured by the page's style sheet, so that they follow light and dark.

A chart is 400 x 250 units wide; line number N has the class `sN` (colour and dashes), its points a marker of their own shape. The scales
stand in `data-x` and `data-y` as "low high start end log", for the page's script to read values back from positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 10, 40
TICKS = 5
LONGEST_LABEL = 6
MOST_MARKERS = 24
"""Lines of more points are drawn without markers."""
MOST_POINTS = 400
"""Longer lines are drawn through the means of equal stretches."""
LOG_STEPS = ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8))
FEWEST_TICKS = 3
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named line; `points` ascend in x. `style` is its number in the legend of the page."""

    name: str
    points: tuple[Point, ...]
    style: int


@dataclass(frozen=True)
class Axis:
    """What an axis shows; `log` scales by powers of ten and needs values above zero."""

    label: str
    log: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps values to positions, linearly or logarithmically."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        low, high, at = (math.log10(one) for one in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def __str__(self) -> str:
        return f"{self.low!r} {self.high!r} {self.start} {self.end} {int(self.log)}"


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, *, marks: Sequence[float] = ()) -> Markup:
    """Return the chart of some lines.

    Args:
        lines: one or more, with one point or more in all.
        x: the horizontal axis.
        y: the vertical axis.
        marks: x positions of thin vertical lines: key frames.

    Raises:
        ValueError: there is no point.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        msg = f"line_chart {y.label}: expected at least one point"
        raise ValueError(msg)
    across = _scale([point[0] for point in points], x, LEFT, WIDTH - RIGHT, pad=x.log)
    up = _scale([point[1] for point in points], y, HEIGHT - BOTTOM, TOP, pad=True)
    parts = [_axes(across, up, x, y)]
    parts += [f'<path class="mark" d="M{across(at):.1f} {TOP}V{HEIGHT - BOTTOM}"/>' for at in marks if across.low <= at <= across.high]
    parts += [_drawn(line, across, up, x, y) for line in lines if line.points]
    label = escape(f"{y.label} against {x.label}: {', '.join(line.name for line in lines)}", quote=True)
    body = "".join(parts)
    scales = f'data-x="{across}" data-y="{up}"'
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" {scales} role="img" aria-label="{label}">{body}</svg>')  # noqa: S704


def ticks(low: float, high: float, *, log: bool = False, count: int = TICKS) -> list[float]:
    """Return round values from `low` to `high`, about `count` of them; on a logarithmic axis powers of ten or few multiples."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in LOG_STEPS:
            inside = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
            if len(inside) >= FEWEST_TICKS:
                return inside
        return ticks(low, high, count=count)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in STEPS if size * power >= raw * (1 - 1e-9))
    return [round(number * step, 10) for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _scale(values: Sequence[float], axis: Axis, start: float, end: float, *, pad: bool) -> Scale:
    low, high = min(values), max(values)
    if axis.log:
        factor = max((high / low) ** 0.06, 1.02) if pad else 1.0
        return Scale(low / factor, high * factor, start, end, log=True)
    room = 0.06 * (high - low) if pad else 0.0
    if high == low:
        room = max(abs(high) * 0.05, 0.5)
    return Scale(low - room, high + room, start, end, log=False)


def _axes(across: Scale, up: Scale, x: Axis, y: Axis) -> str:
    parts = []
    for value in ticks(up.low, up.high):
        at = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in ticks(across.low, across.high, log=x.log):
        at = across(value)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_short(value)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="title" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>')
    turned = f'transform="rotate(-90 12 {middle})"'
    parts.append(f'<text class="title" x="12" y="{middle}" text-anchor="middle" {turned}>{escape(y.label)}</text>')
    return "".join(parts)


def _short(value: float) -> str:
    """Return a tick's label, at most about six characters: 0.00075 becomes 7.5e-4."""
    text = f"{value:g}"
    if len(text) <= LONGEST_LABEL:
        return text
    mantissa, exponent = f"{value:.5e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _drawn(line: Line, across: Scale, up: Scale, x: Axis, y: Axis) -> str:
    places = [(across(a), up(b)) for a, b in _thinned(line.points)]
    path = "L".join(f"{a:.2f} {b:.2f}" for a, b in places)
    drawn = f'<path class="line s{line.style}" d="M{path}"><title>{escape(line.name)}</title></path>'
    if len(places) > MOST_MARKERS:
        return drawn
    for (a, b), (left, right) in zip(places, line.points, strict=True):
        told = escape(f"{line.name}: {y.label} {right:.4g} at {x.label} {left:.4g}")
        drawn += f'<path class="dot s{line.style}" d="{_marker(line.style, a, b)}"><title>{told}</title></path>'
    return drawn


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most `MOST_POINTS` points: means over stretches of equal length."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    return [(sum(a for a, _ in part) / len(part), sum(b for _, b in part) / len(part)) for part in parts]


def _marker(style: int, x: float, y: float) -> str:
    """Return the path of a marker: circle, square, diamond, triangle, by turns."""
    shapes = (
        f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
        f"M{x - 2.8:.1f} {y - 2.8:.1f}h5.6v5.6h-5.6z",
        f"M{x:.1f} {y - 3.8:.1f}l3.8 3.8l-3.8 3.8l-3.8 -3.8z",
        f"M{x:.1f} {y - 3.6:.1f}l3.6 6.4h-7.2z",
    )
    return shapes[style % len(shapes)]
