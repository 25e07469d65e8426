"""The multiple-choice page, and its PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.drawing.boxes import MOST_BOXES, SAME_OBJECT_IOU
from evaluate.drawing.gallery import choose
from evaluate.drawing.pictures import FrameAt, pictures
from evaluate.drawing.views import Scene, View
from evaluate.multiple_choice import Choices
from evaluate.reports.beside import beside
from evaluate.reports.page import shared, write_page
from train.config import LossConfig

PAGE_NAME = "multiple_choice.html"
KINDS = {
    "all": ("Every question", "In the order of the manifest."),
    "best": ("Best", "Right, and by the widest margin."),
    "typical": ("Typical", "Around the middle."),
    "worst": ("Worst", "The right option comes last, or by the widest margin."),
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Option:
    """letter: its name on the page. left, width: of its bar, in percent of the question's scale."""

    letter: str
    text: str
    score: float
    left: float
    width: float
    right: bool
    chosen: bool


@dataclass(frozen=True)
class Example:
    """A question with its options. right: how right the answer is, in [0, 1]. view: the right option's; wrong: that of
    the option that was preferred to it."""

    key: str
    question: str
    kind: str
    right: float
    options: tuple[Option, ...]
    zero: float
    view: View
    wrong: View | None


def write_report(
    path: Path, found: Choices, loss: LossConfig, *, media_root: Path | None = None, labels: Sequence[str] = ()
) -> Path:
    """Draws the page of a finished evaluation and writes it atomically; the arguments are as for retrieval."""
    shown = examples(found, loss, pictures(media_root), labels)
    return write_page(path, "multiple_choice.html", _context(found, shown, loss))


def examples(found: Choices, loss: LossConfig, frame_at: FrameAt, labels: Sequence[str] = ()) -> list[Example]:
    """The best, typical and worst questions, or all of them when there are few."""
    scene = Scene(found.plan.items, found.videos, found.texts, loss, frame_at, labels)
    starts_Q = np.cumsum([0, *(len(scores_K) for scores_K in found.scores)])
    places_Q, margin_Q = standings(found.scores, [q.label for q in found.plan.questions])
    return [_example(found, scene, q, kind, int(starts_Q[q])) for kind, q in choose(places_Q, margin_Q)]


def standings(
    scores: Sequence[NDArray[np.floating]], label_Q: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected place of each question's right option [Q], from 1, and by how much it scores above the best other."""
    places, margins = np.empty(len(scores)), np.empty(len(scores))
    for q, (scores_K, label) in enumerate(zip(scores, label_Q, strict=True)):
        others = np.delete(scores_K.astype(np.float64), label)
        places[q] = 1 + (others > scores_K[label]).sum() + (others == scores_K[label]).sum() / 2
        margins[q] = scores_K[label] - others.max(initial=-np.inf)
    return places, margins


def _example(found: Choices, scene: Scene, q: int, kind: str, start: int) -> Example:
    question, b, chosen = found.plan.questions[q], int(found.plan.owner_Q[q]), int(found.picks.first_Q[q])
    rows = found.texts.row_C[start : start + len(question.options)]
    scores_K = found.scores[q].astype(np.float64)
    low, high = min(0.0, float(scores_K.min())), max(0.0, float(scores_K.max()))
    scale = 100.0 / (high - low) if high > low else 0.0
    options = tuple(
        Option(
            LETTERS[k] if k < len(LETTERS) else str(k + 1),
            text,
            float(scores_K[k]),
            (min(0.0, float(scores_K[k])) - low) * scale,
            abs(float(scores_K[k])) * scale,
            k == question.label,
            k == chosen,
        )
        for k, text in enumerate(question.options)
    )
    right = scene.view(b, int(rows[question.label]), MOST_BOXES, maps=True)
    wrong = None if chosen == question.label else scene.view(b, int(rows[chosen]), MOST_BOXES, maps=True)
    return Example(
        question.key, question.question, kind, float(found.correct_Q[q]), options, -low * scale, right, wrong
    )  # fmt: skip


def _context(found: Choices, shown: list[Example], loss: LossConfig) -> dict[str, Any]:
    result = found.result
    views = [view for example in shown for view in (example.view, example.wrong) if view is not None]
    return shared(result, views) | {
        "beside": beside(result, {"accuracy": result.accuracy}, result.accuracy_interval),
        "groups": [
            (*KINDS[kind], [example for example in shown if example.kind == kind])
            for kind in KINDS
            if any(example.kind == kind for example in shown)
        ],
        "same_object": SAME_OBJECT_IOU,
        "box_numbers": range(1, MOST_BOXES + 1),
        "form": loss.local_form,
        "aligned": loss.local_weight > 0,
    }
