"""``retrieval.png``: recall curve, ranks of the right answer, and R@1 beside the published."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes

from evaluate import metrics
from evaluate.drawing.beside import Beside
from evaluate.drawing.charts import NAMES, band_name, curve_steps, rank_edges
from evaluate.drawing.paper.canvas import BLUE, ORANGE, SOFT, panels, plain, png, whole_row, without_formulas
from evaluate.drawing.paper.published import draw_published, height
from evaluate.result import described
from evaluate.retrieval import Retrieval


@without_formulas
def retrieval_png(found: Retrieval, beside: Beside, partial: str) -> bytes:
    """``partial`` (``992/1000 videos``) stands in every title where something is missing."""
    title = f"Retrieval on {described(found.result)}{', ' + partial if partial else ''}"
    figure, axes = panels([3.6, height(beside)], 2, title)
    noted = f" ({partial})" if partial else ""
    _curve(axes[0, 0], found.by_sentence, found.by_video, noted)
    _ranks(axes[0, 1], found.by_sentence, found.by_video, noted)
    draw_published(whole_row(figure, axes, 1), beside, partial)
    return png(figure)


def _curve(ax: Axes, forth: metrics.Ranking, back: metrics.Ranking, noted: str) -> None:
    styles = (
        (forth, NAMES[0], {"color": BLUE, "linestyle": "-", "linewidth": 2.2}),
        (back, NAMES[1], {"color": ORANGE, "linestyle": (0, (5, 2.5)), "linewidth": 2.2}),
        (metrics.chance(forth), "chance", {"color": SOFT, "linestyle": (0, (1, 2.5)), "linewidth": 1.6}),
    )
    for ranking, name, style in styles:
        steps = curve_steps(ranking.candidates)
        few = ranking.candidates <= 24 and name != "chance"
        marks = {"marker": "o" if name == NAMES[0] else "s", "markersize": 5} if few else {}
        ax.plot(steps, metrics.recall_curve(ranking, steps), label=name, **style, **marks)
    if forth.candidates > 24:
        ax.set_xscale("log")
        ticks = [k for k in (1, 5, 10, 50, 100, 500, 1000, 5000, 10_000) if k <= forth.candidates]
        ax.set_xticks(ticks, [str(k) for k in ticks])
        ax.minorticks_off()
    ax.set_ylim(0, 102)
    ax.set_xlabel("k", fontsize=9.5)
    ax.legend(frameon=False, fontsize=9.5)
    plain(ax, f"Recall at k (%){noted}", "both")


def _ranks(ax: Axes, forth: metrics.Ranking, back: metrics.Ranking, noted: str) -> None:
    bands = list(pairwise(rank_edges(max(forth.candidates, back.candidates))))
    styles = ({"facecolor": BLUE, "edgecolor": BLUE}, {"facecolor": "white", "edgecolor": ORANGE, "hatch": "////"})
    for i, (ranking, style) in enumerate(zip((forth, back), styles, strict=True)):
        shares = [100.0 * float((ranking.within(high) - ranking.within(low)).mean()) for low, high in bands]
        drawn = ax.bar([b + (i - 0.5) * 0.4 for b in range(len(bands))], shares, 0.36, label=NAMES[i], **style)
        ax.bar_label(drawn, [f"{share:.0f}" if share >= 0.05 else "" for share in shares], fontsize=9, padding=2)
    ax.set_xticks(range(len(bands)), [band_name(low, high) for low, high in bands])
    ax.margins(y=0.12)
    ax.set_xlabel("rank of the right answer", fontsize=9.5)
    ax.legend(frameon=False, fontsize=9.5)
    plain(ax, f"Queries by rank (%){noted}", "y")
