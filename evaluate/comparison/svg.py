"""The charts of the comparison page as inline SVG, coloured by its style sheet; marks and dashes tell curves apart."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

from evaluate.comparison.curves import Chart, Curve, Point, short_number

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, BOTTOM = 50, 18, 44
_KEY_HEIGHT = 20
_TICK_WIDTH = 0.09


def drawing(chart: Chart) -> Markup:
    """One chart. Each point carries its run's name and figures as a title, which a pointer or a reader tells."""
    keys = [curve for curve in chart.curves if curve.name]
    top = 14 + _KEY_HEIGHT * len(keys)
    low, high, step = y_range(chart)

    def y(percent: float) -> float:
        return HEIGHT - BOTTOM - (percent - low) / (high - low) * (HEIGHT - top - BOTTOM)

    def x(value: float) -> float:
        return LEFT + 16 + x_share(chart, value) * (WIDTH - LEFT - RIGHT - 32)

    parts = [_key(i, curve) for i, curve in enumerate(chart.curves) if curve.name]
    for i in range(round((high - low) / step) + 1):
        at = low + i * step
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>')
    parts += [_middle("tick", x(value), HEIGHT - BOTTOM + 18, short_number(value)) for value in _ticks(chart)]
    parts.append(_middle("axis", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, chart.x_label))
    for i, curve in enumerate(chart.curves):
        shift = 5 * (i - (len(chart.curves) - 1) / 2)
        at = [(x(point.x) + shift, point) for point in curve.points]
        if curve.joined:
            path = " ".join(f"{px:.1f},{y(point.y):.1f}" for px, point in at)
            parts.append(f'<polyline class="line {_style(i)}" points="{path}"/>')
        parts += [_point(i, px, y(point.y), y(point.low), y(point.high), point) for px, point in at]
    label = escape(f"{chart.title}: {chart.y_label}")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def y_range(chart: Chart) -> tuple[float, float, float]:
    """Lowest and highest tick and their distance, in percent: round numbers that hold every interval."""
    points = [point for curve in chart.curves for point in curve.points]
    least, most = min(point.low for point in points), max(point.high for point in points)
    wanted = max(most - least, 1.0) / 4
    step = next((step for step in (0.5, 1, 2, 5, 10, 20) if step >= wanted), 25)
    low, high = max(step * math.floor(least / step), 0.0), min(step * math.ceil(most / step + 1e-9), 100.0)
    return (low if low < high else high - step), high, step


def x_share(chart: Chart, value: float) -> float:
    """Where a value lies between the least and the largest x, 0 to 1."""
    values = [point.x for curve in chart.curves for point in curve.points]
    least, most = min(values), max(values)
    if chart.logarithmic:
        return math.log(value / least) / math.log(most / least)
    return (value - least) / (most - least)


def _ticks(chart: Chart) -> list[float]:
    """The x of the points, without those that would stand in one another's way."""
    kept: list[float] = []
    for value in sorted({point.x for curve in chart.curves for point in curve.points}):
        if not kept or x_share(chart, value) - x_share(chart, kept[-1]) > _TICK_WIDTH:
            kept.append(value)
    return kept


def _style(i: int) -> str:
    """Eight curves look different without their colours too: four marks, filled or hollow, and a dash each."""
    return f"s{i % 4}" + " alt" * (i // 4 % 2)


def _key(i: int, curve: Curve) -> str:
    at = 10 + i * _KEY_HEIGHT
    line = f'<line class="line {_style(i)}" x1="{LEFT}" x2="{LEFT + 34}" y1="{at}" y2="{at}"/>' if curve.joined else ""
    name = escape(curve.name)
    return f'{line}{_mark(i, LEFT + 17, at)}<text class="key" x="{LEFT + 42}" y="{at + 5}">{name}</text>'


def _point(i: int, x: float, y: float, low: float, high: float, point: Point) -> str:
    said = escape(f"{point.label}: {point.y:.1f} % ({point.low:.1f}–{point.high:.1f})")
    ends = "".join(f"M{x - 4:.1f},{end:.1f}h8" for end in (low, high))
    return (
        f'<g><title>{said}</title><path class="whisker s{i % 4}" d="M{x:.1f},{low:.1f}V{high:.1f}{ends}"/>'
        f"{_mark(i, x, y)}</g>"
    )


def _mark(i: int, x: float, y: float) -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"',
        f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"',
        f'<path d="M{x:.1f},{y - 6:.1f}l5.6,10h-11.2z"',
        f'<path d="M{x:.1f},{y - 6.5:.1f}l6,6.5l-6,6.5l-6,-6.5z"',
    )
    return f'{shapes[i % 4]} class="mark {_style(i)}"/>'


def _middle(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'
