"""The comparison as one picture: every run with its interval, and the curves, for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from evaluate.comparison.curves import NAMES, Chart, charts, short_number
from evaluate.comparison.groups import Group
from evaluate.drawing.paper.canvas import png, without_formulas
from evaluate.published.figures import headline

COLOURS = ("#0072b2", "#b34a00", "#00684a", "#7a3e8f")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 1)), (0, (3, 1, 1, 1)), (0, (8, 4)))
INK = "#15202b"
_WIDTH, _LINE, _PANEL = 7.0, 0.3, 3.4


@without_formulas
def picture(groups: Sequence[Group]) -> bytes:
    """PNG: under each other, for every group its runs, then the charts that its runs allow."""
    panels: list[tuple[Group, Chart | None]] = []
    for group in groups:
        panels += [(group, None), *((group, chart) for chart in charts(group))]
    heights = [1.1 + _LINE * len(group.runs) if chart is None else _PANEL for group, chart in panels]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, (group, chart) in zip(axes, panels, strict=True):
        _runs(ax, group) if chart is None else _curves(ax, chart)
        ax.grid(True, color="#d8dee4", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _runs(ax: Axes, group: Group) -> None:
    for at, run in enumerate(group.runs):
        measure = run.headline
        around = [[max(measure.value - measure.low, 0.0)], [max(measure.high - measure.value, 0.0)]]
        ax.errorbar([measure.value], [at], xerr=around, fmt="o", color=COLOURS[0], capsize=3, markersize=6)
        ax.annotate(
            f"{measure.value:.1f}", (measure.value, at), (0, 6), textcoords="offset points", ha="center", size=8
        )
    ax.set_yticks(range(len(group.runs)), [_short(run.label) for run in group.runs])
    ax.set_ylim(len(group.runs) - 0.4, -0.75)
    ax.set_xlabel(NAMES[headline(group.key.task)])
    ax.set_title(f"{group.key.title} ({group.key.counted})", loc="left", size=10, color=INK)


def _curves(ax: Axes, chart: Chart) -> None:
    for i, curve in enumerate(chart.curves):
        xs, ys = [point.x for point in curve.points], [point.y for point in curve.points]
        around = [
            [max(point.y - point.low, 0.0) for point in curve.points],
            [max(point.high - point.y, 0.0) for point in curve.points],
        ]
        ax.errorbar(
            xs, ys, yerr=around, label=curve.name, color=COLOURS[i % 4], marker=MARKS[i % 8],
            linestyle=DASHES[i % 8] if curve.joined else "none", capsize=3, markersize=6,
            markerfacecolor=COLOURS[i % 4] if i % 2 == 0 else "white",
        )  # fmt: skip
    if chart.logarithmic:
        ax.set_xscale("log")
    places = sorted({point.x for curve in chart.curves for point in curve.points})
    ax.set_xticks(places, [short_number(x) for x in places])
    ax.minorticks_off()
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(chart.y_label)
    ax.set_title(chart.title, loc="left", size=10, color=INK)
    if any(curve.name for curve in chart.curves):
        ax.legend(frameon=False, fontsize=8)


def _short(label: str, most: int = 34) -> str:
    return label if len(label) <= most else f"…{label[1 - most :]}"
