"""The two drawings of the retrieval page as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluate import metrics

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 42, 40
SERIES = ("a", "b")
NAMES = ("text to video", "video to text")
_EDGES = (1, 5, 10, 50, 100, 500, 1000, 5000, 10_000)
_POINTS = 60


def recall_chart(forth: metrics.Ranking, back: metrics.Ranking, partial: str = "") -> Markup:
    """Recall at k against k, both directions, with chance; k is on a logarithmic axis from 25 candidates on.

    ``partial`` (``992/1000 videos``) stands in the drawing where something is missing.
    """
    most = max(forth.candidates, back.candidates)
    logarithmic = most > 24

    def x(k: float) -> float:
        share = math.log(k) / math.log(most) if logarithmic else (k - 1) / max(most - 1, 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    parts = [_frame(_noted("% right among the first k, against k", partial)), _legend(chance=True)]
    for k in _ticks(most):
        parts.append(_text("tick", x(k), HEIGHT - BOTTOM + 16, str(k)))
    lines = [(metrics.chance(forth), "chance"), (back, "b"), (forth, "a")]
    for ranking, name in lines:
        steps = curve_steps(ranking.candidates)
        points = zip(steps.tolist(), metrics.recall_curve(ranking, steps).tolist(), strict=True)
        drawn = [(x(k), _y(recall)) for k, recall in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in drawn)
        parts.append(f'<polyline class="line {name}" points="{path}"/>')
        if name != "chance" and most <= 24:
            parts += [f'<circle class="dot {name}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in drawn]
    return _svg(_noted("Recall at k, both directions", partial), parts)


def rank_chart(forth: metrics.Ranking, back: metrics.Ranking, partial: str = "") -> Markup:
    """Share of queries a band of ranks, both directions; ties are shared out over the ranks they may take."""
    most = max(forth.candidates, back.candidates)
    edges = rank_edges(most)
    parts = [_frame(_noted("% of queries, by rank of the right answer", partial)), _legend(chance=False)]
    step = (WIDTH - LEFT - RIGHT) / (len(edges) - 1)
    bar = min(step * 0.36, 56)
    for i, (low, high) in enumerate(pairwise(edges)):
        middle = LEFT + (i + 0.5) * step
        name = band_name(low, high)
        parts.append(
            f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{name}</text>'
        )
        for series, ranking, at in (("a", forth, middle - bar - 1), ("b", back, middle + 1)):
            share = 100.0 * float((ranking.within(high) - ranking.within(low)).mean())
            top = _y(share)
            parts.append(
                f'<rect class="bar {series}" x="{at:.1f}" y="{top:.1f}" width="{bar:.1f}"'
                f' height="{HEIGHT - BOTTOM - top:.1f}"/>'
            )
            if share >= 0.05:
                parts.append(_text("value", at + bar / 2, top - 3, f"{share:.0f}"))
    return _svg(_noted("Ranks of the right answer, both directions", partial), parts)


def curve_steps(candidates: int) -> NDArray[np.int64]:
    """The k at which a recall curve is drawn: all of a few, else evenly in their logarithm."""
    return np.unique(np.geomspace(1, candidates, _POINTS).round().astype(np.int64))


def rank_edges(candidates: int) -> list[int]:
    """The bands of ranks: band i has the ranks after edge i up to edge i + 1."""
    return [0, *(edge for edge in _EDGES if edge < candidates), candidates]


def band_name(low: int, high: int) -> str:
    """``1`` or ``2–5``."""
    return f"{high}" if high - low == 1 else f"{low + 1}–{high}"


def _noted(text: str, partial: str) -> str:
    return f"{text} ({partial})" if partial else text


def _ticks(most: int) -> list[int]:
    ticks = [edge for edge in _EDGES if edge <= most * 0.6 or edge == most]
    return sorted({*ticks, most})


def _y(percent: float) -> float:
    return HEIGHT - BOTTOM - percent / 100.0 * (HEIGHT - TOP - BOTTOM)


def _frame(axis: str) -> str:
    lines = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(p):.1f}" y2="{_y(p):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{_y(p) + 4:.1f}" text-anchor="end">{p}</text>'
        for p in (0, 25, 50, 75, 100)
    )
    return lines + _text("axis", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axis)


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text}</text>'


def _legend(chance: bool) -> str:
    names = [*zip(SERIES, NAMES, strict=True), *([("chance", "chance")] if chance else [])]
    parts = []
    for i, (series, name) in enumerate(names):
        at = LEFT + i * 150
        mark = (
            f'<line class="line {series}" x1="{at}" x2="{at + 26}" y1="12" y2="12"/>'
            if chance
            else f'<rect class="bar {series}" x="{at + 4}" y="5" width="18" height="13"/>'
        )
        parts.append(f'{mark}<text class="key" x="{at + 32}" y="16">{name}</text>')
    return "".join(parts)


def _svg(title: str, parts: list[str]) -> Markup:
    body = "".join(parts)
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{body}</svg>')
