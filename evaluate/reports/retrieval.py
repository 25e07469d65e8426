"""The retrieval page, and its PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate import metrics
from evaluate.drawing.boxes import MOST_BOXES, SAME_OBJECT_IOU
from evaluate.drawing.charts import rank_chart, recall_chart
from evaluate.drawing.gallery import Example, examples
from evaluate.drawing.pictures import pictures
from evaluate.reports.beside import beside
from evaluate.reports.page import partial, shared, write_page
from evaluate.result import BothWays, Direction, RetrievalResult
from evaluate.retrieval import Retrieval
from train.config import LossConfig

PAGE_NAME = "retrieval.html"
KINDS = {
    "all": ("Every query", "In the order of the manifest."),
    "best": ("Best", "Right, and by the widest margin."),
    "typical": ("Typical", "Around the median rank."),
    "worst": ("Worst", "The right video comes last of all, or by the widest margin."),
}


@dataclass(frozen=True)
class FigureRow:
    """A line of the table of scores: what scored, and its figures with their intervals (none for chance)."""

    name: str
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]] | None = None
    main: bool = False


def write_report(
    path: Path, found: Retrieval, loss: LossConfig, *, media_root: Path | None = None, labels: Sequence[str] = ()
) -> Path:
    """Draws the page of a finished retrieval and writes it atomically.

    ``loss`` is the objective that the model was trained with: attention is drawn in its form. ``media_root`` is where
    the manifest's media paths start; without it, or where a file gives no frame, boxes are drawn on an empty canvas and
    the page says so. ``labels`` are the detector's class names.
    """
    shown = examples(found, loss, pictures(media_root), labels)
    return write_page(path, "retrieval.html", _context(found, shown, loss))


def _context(found: Retrieval, shown: list[Example], loss: LossConfig) -> dict[str, Any]:
    result = found.result
    views = [answer.view for example in shown for answer in (*example.top, *example.details)]
    forth = result.text_to_video
    return shared(result, views) | {
        "directions": (
            _card("Text to video", "a sentence looks for its video", forth, "a"),
            _card("Video to text", "a video looks for one of its sentences", result.video_to_text, "b"),
        ),
        "score_tables": (
            ("Text to video", _score_rows(result, "text_to_video")),
            ("Video to text", _score_rows(result, "video_to_text")),
        ),
        "softmax_rows": _softmax_rows(result),
        "figure_names": metrics.FIGURES,
        "beside": beside(result, forth.figures, forth.intervals["R@1"]),
        "recall_chart": recall_chart(found.by_sentence, found.by_video, partial(result)),
        "rank_chart": rank_chart(found.by_sentence, found.by_video, partial(result)),
        "groups": [
            (*KINDS[kind], [example for example in shown if example.kind == kind])
            for kind in KINDS
            if any(example.kind == kind for example in shown)
        ],
        "same_object": SAME_OBJECT_IOU,
        "box_numbers": range(1, MOST_BOXES + 1),
        "percent": (*metrics.RECALLS, "GeoMean"),
        "form": loss.local_form,
        "aligned": loss.local_weight > 0,
    }


def _score_rows(result: RetrievalResult, way: str) -> list[FigureRow]:
    """The score itself, each similarity alone where there are two, ties in the model's favour, and chance."""
    together: Direction = getattr(result, way)
    rows = [FigureRow("global + local" if result.global_alone else "score", together.figures, together.intervals, True)]
    for name, both in (("global alone", result.global_alone), ("local alone", result.local_alone)):
        if both is not None:
            alone: Direction = getattr(both, way)
            rows.append(FigureRow(name, alone.figures, alone.intervals))
    rows.append(FigureRow("ties in the model's favour", together.optimistic))
    return [*rows, FigureRow("chance", together.chance)]


def _softmax_rows(result: RetrievalResult) -> list[FigureRow]:
    both: BothWays | None = result.dual_softmax
    if both is None:
        return []
    ways = (("text to video", both.text_to_video), ("video to text", both.video_to_text))
    return [FigureRow(name, way.figures, way.intervals) for name, way in ways]


def _card(title: str, meaning: str, direction: Direction, series: str) -> dict[str, Any]:
    tied = any(abs(direction.optimistic[name] - direction.figures[name]) > 0.05 for name in metrics.FIGURES)
    return {"title": title, "meaning": meaning, "of": direction, "tied": tied, "series": series}
