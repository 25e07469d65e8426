"""A result's first figure among the published ones, as bars."""

from __future__ import annotations

from matplotlib.axes import Axes

from evaluate.drawing.beside import Beside
from evaluate.drawing.paper.canvas import bars, plain

BAR_INCHES = 0.27


def height(beside: Beside) -> float:
    """Inches that the bars take."""
    return 0.9 + BAR_INCHES * len(beside.lines) if beside.lines else 0.4


def draw_published(ax: Axes, beside: Beside, partial: str) -> None:
    """Ours hatched, with its interval; hollow and with a dagger what is from memory; nothing but the reason where no
    published figure is of the same protocol."""
    if not beside.lines:
        ax.axis("off")
        ax.text(0, 0.5, f"Beside published results: none are shown: {beside.why_not}.", fontsize=9.5, wrap=True)
        return
    names = [
        f"this run{' (' + partial + ')' if partial else ''}"
        if line.ours
        else f"{line.method} {line.year}{'' if line.checked else ' †'}"
        for line in beside.lines
    ]
    kinds = ["ours" if line.ours else "plain" if line.checked else "hollow" for line in beside.lines]
    values = [line.figures[beside.first] for line in beside.lines]
    bars(ax, names, values, [line.interval for line in beside.lines], kinds)
    title = f"{beside.first} (%) beside published results{', ' + partial if partial else ''}"
    plain(ax, title + ("; †: from memory" if beside.unchecked else ""), "x")
