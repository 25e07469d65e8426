"""Figures without a window or a global state, whose bytes depend on nothing but what is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

BLUE, ORANGE, INK, SOFT, RULE = "#0072b2", "#b34a00", "#15202b", "#566370", "#d8dee4"
HATCH = "////"
INCHES, DPI = 10.0, 160  # 1,600 pixels across
without_formulas = rc_context({"text.parse_math": False})
"""Decorates what draws texts of others: one with two dollar signs is no formula."""


def panels(heights: Sequence[float], columns: int, title: str) -> tuple[Figure, np.ndarray]:
    """A figure with rows of so many inches and its axes [rows, columns]."""
    figure = Figure(figsize=(INCHES, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, color=INK)
    axes = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
    return figure, axes


def whole_row(figure: Figure, axes: np.ndarray, row: int) -> Axes:
    """One wide axis in the place of a row's."""
    grid = axes[row, 0].get_gridspec()
    for ax in axes[row]:
        ax.remove()
    return figure.add_subplot(grid[row, :])


def plain(ax: Axes, title: str, grid: str) -> None:
    """Title, a light grid along ``grid`` (x or y), and no frame above or on the right."""
    ax.set_title(title, loc="left", fontsize=11, color=INK)
    ax.grid(True, axis=grid, color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9.5, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)


def bars(
    ax: Axes,
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    kinds: Sequence[str],
) -> None:
    """Horizontal bars in percent, the first on top. kinds: ``plain``, ``ours`` (hatched) or ``hollow``."""
    styles = {
        "plain": {"facecolor": BLUE, "edgecolor": BLUE},
        "ours": {"facecolor": "white", "edgecolor": ORANGE, "hatch": HATCH},
        "hollow": {"facecolor": "white", "edgecolor": BLUE},
    }
    most = 0.0
    for at, (value, interval, kind) in enumerate(zip(values, intervals, kinds, strict=True)):
        ax.barh(at, value, height=0.66, linewidth=1.4, **styles[kind])
        end = value
        if interval is not None:
            ax.plot(interval, (at, at), color=INK, linewidth=1.6, marker="|", markersize=8, markeredgewidth=1.6)
            end = max(value, interval[1])
        ax.annotate(f"{value:.1f}", (end, at), (6, 0), textcoords="offset points", va="center", fontsize=9.5, color=INK)
        most = max(most, end)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, min(most * 1.12 + 3, 112))


def short(text: str, most: int = 28) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def png(figure: Figure) -> bytes:
    """The figure's bytes: the same for the same drawing, without date or version."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()
