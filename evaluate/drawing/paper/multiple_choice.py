"""``multiple_choice.png``: accuracy, chance, and accuracy beside the published."""

from __future__ import annotations

from evaluate.drawing.beside import Beside
from evaluate.drawing.paper.canvas import bars, panels, plain, png, without_formulas
from evaluate.drawing.paper.published import draw_published, height
from evaluate.result import MultipleChoiceResult, described


@without_formulas
def multiple_choice_png(result: MultipleChoiceResult, beside: Beside, partial: str) -> bytes:
    """``partial`` (``992/1000 videos``) stands in every title where something is missing."""
    noted = f" ({partial})" if partial else ""
    figure, axes = panels([1.5, height(beside)], 1, f"Multiple choice on {described(result)}{noted}")
    bars(
        axes[0, 0],
        ["this run", "chance"],
        [result.accuracy, result.chance],
        [result.accuracy_interval, None],
        ["ours", "plain"],
    )
    plain(axes[0, 0], f"Accuracy (%) with its 95 % interval{noted}", "x")
    draw_published(axes[1, 0], beside, partial)
    return png(figure)
