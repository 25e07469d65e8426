"""``question_answering.png``: accuracy by answer type, confusion, and accuracy beside the published."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from evaluate.drawing.beside import Beside
from evaluate.drawing.paper.canvas import INK, bars, panels, plain, png, short, whole_row, without_formulas
from evaluate.drawing.paper.published import draw_published, height
from evaluate.result import Confusion, QuestionAnsweringResult, described

MOST_GROUPS = 10
PALE = 1.7  # end of the colours, above the largest share: dark figures stay readable on all of them


@without_formulas
def question_answering_png(result: QuestionAnsweringResult, beside: Beside, partial: str) -> bytes:
    """``partial`` (``992/1000 videos``) stands in every title where something is missing."""
    noted = f" ({partial})" if partial else ""
    groups = result.by_answer_type[:MOST_GROUPS]
    title = f"Question answering on {described(result)}{noted}"
    figure, axes = panels([max(1.5 + 0.3 * len(groups), 4.4), height(beside)], 2, title)
    names = ["all", *(short(group.name) for group in groups), f"always “{short(result.majority_answer)}”"]
    counts = [result.questions, *(group.questions for group in groups), result.questions]
    bars(
        axes[0, 0],
        [f"{name} ({count})" for name, count in zip(names, counts, strict=True)],
        [result.accuracy, *(group.accuracy for group in groups), result.majority_accuracy],
        [result.accuracy_interval, *(group.accuracy_interval for group in groups), None],
        ["ours", *["plain"] * len(groups), "hollow"],
    )
    plain(axes[0, 0], f"Accuracy (%) by answer type{noted}", "x")
    _confusion(axes[0, 1], result.confusion, noted)
    draw_published(whole_row(figure, axes, 1), beside, partial)
    return png(figure)


def _confusion(ax: Axes, confusion: Confusion, noted: str) -> None:
    counts = np.array(confusion.counts, np.float64).reshape(len(confusion.answers), -1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=PALE, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        text = f"{int(counts[row, column])}"
        weight = "bold" if row == column else "normal"
        ax.text(column, row, text, ha="center", va="center", fontsize=8.5, color=INK, weight=weight)
    names = [short(answer, 20) for answer in confusion.answers]
    ax.set_xticks(range(counts.shape[1]), [*names, "another"], rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("answer given", fontsize=9.5)
    plain(ax, f"Right answer (row) and given{noted}", "both")
    ax.grid(False)
