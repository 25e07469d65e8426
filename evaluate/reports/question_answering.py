"""The question-answering page, and its PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.drawing.beside import Beside, beside
from evaluate.drawing.boxes import MOST_BOXES
from evaluate.drawing.paper.question_answering import question_answering_png
from evaluate.drawing.pictures import pictures
from evaluate.drawing.sights import sights
from evaluate.drawing.views import View
from evaluate.question_answering import Answers
from evaluate.reports.page import partial, shared, write_page, write_picture
from evaluate.result import Confusion
from evaluate.stored import StoredShards

PAGE_NAME, PICTURE_NAME = "question_answering.html", "question_answering.png"
PER_KIND = 3
KINDS = {
    "right": ("Right, and surest", "The right answer, given with the highest probability."),
    "unsure": ("Least sure", "Whatever was answered, it had the lowest probability."),
    "wrong": ("Wrong, and surest", "Another answer, given with the highest probability."),
}


@dataclass(frozen=True)
class Example:
    """A question and what was answered. Probabilities in [0, 1]; right_probability is None where the vocabulary does
    not hold the right answer. correct: how right, in [0, 1]."""

    kind: str
    question: str
    answer: str
    predicted: str
    probability: float
    right_probability: float | None
    correct: float
    view: View


@dataclass(frozen=True)
class ConfusionRow:
    """A right answer: how many questions have it, and what they were answered (count, share of the row)."""

    answer: str
    questions: int
    cells: tuple[tuple[int, float], ...]


def write_report(
    path: Path, found: Answers, stored: StoredShards, *, media_root: Path | None = None, labels: Sequence[str] = ()
) -> Path:
    """Draws the page of a finished evaluation and the PNG beside it, each written atomically.

    ``stored`` are the shards that it was made from.
    """
    shown = examples(found, stored, media_root, labels)
    result = found.result
    among = beside(result, {"accuracy": result.accuracy}, result.accuracy_interval)
    write_picture(path, question_answering_png(result, among, partial(result)))
    return write_page(path, "question_answering.html", _context(found, shown, among))


def choose_questions(found: Answers) -> list[tuple[str, int]]:
    """(kind, question) pairs, at most ``PER_KIND`` of each kind and no video twice in one of them."""
    surest = np.argsort(-found.probability_Q, kind="stable")
    orders = {
        "right": surest[found.correct_Q[surest] == 1].tolist(),
        "unsure": surest[::-1].tolist(),
        "wrong": surest[found.correct_Q[surest] == 0].tolist(),
    }
    chosen: list[tuple[str, int]] = []
    taken: set[int] = set()
    for kind in ("right", "wrong", "unsure"):
        videos: set[int] = set()
        for q in orders[kind]:
            owner = int(found.plan.owner_Q[q])
            if len(videos) < PER_KIND and owner not in videos and int(q) not in taken:
                videos.add(owner)
                taken.add(int(q))
                chosen.append((kind, int(q)))
    return chosen


def examples(
    found: Answers, stored: StoredShards, media_root: Path | None = None, labels: Sequence[str] = ()
) -> list[Example]:
    """Right, wrong and unsure answers, each with its video's frame."""
    chosen = choose_questions(found)
    items = [found.plan.items[owner] for owner in sorted({int(found.plan.owner_Q[q]) for _, q in chosen})]
    seen = sights(stored, items, pictures(media_root), labels, MOST_BOXES)
    return [_example(found, kind, q, seen[found.plan.ids[int(found.plan.owner_Q[q])]]) for kind, q in chosen]


def _example(found: Answers, kind: str, q: int, view: View) -> Example:
    question, right = found.plan.questions[q], float(found.right_probability_Q[q])
    return Example(
        kind,
        question.question,
        question.answer,
        found.predicted[q],
        float(found.probability_Q[q]),
        None if np.isnan(right) else right,
        float(found.correct_Q[q]),
        view,
    )


def confusion_rows(confusion: Confusion) -> list[ConfusionRow]:
    """The rows of the confusion matrix with the share that each count has of its row."""
    rows = []
    for answer, counts in zip(confusion.answers, confusion.counts, strict=True):
        total = sum(counts)
        rows.append(ConfusionRow(answer, total, tuple((n, n / total if total else 0.0) for n in counts)))
    return rows


def _context(found: Answers, shown: list[Example], among: Beside) -> dict[str, Any]:
    result = found.result
    return shared(result, [example.view for example in shown]) | {
        "beside": among,
        "coverage": 100.0 * result.covered / result.questions,
        "group_tables": (
            ("By answer type", "answer type", result.by_answer_type),
            ("By question word", "question word", result.by_question_word),
        ),
        "confusion_answers": result.confusion.answers,
        "confusion_rows": confusion_rows(result.confusion),
        "groups": [
            (*KINDS[kind], [example for example in shown if example.kind == kind])
            for kind in KINDS
            if any(example.kind == kind for example in shown)
        ],
    }
