"""Sample queries: which are shown, and the videos that answered them.

Letters: B videos, C sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.drawing.boxes import MOST_BOXES
from evaluate.drawing.pictures import FrameAt
from evaluate.drawing.views import Scene, View
from evaluate.retrieval import Retrieval
from train.config import LossConfig

SHOW_ALL = 12
PER_KIND = 3
TOP = 5
THUMBNAIL_BOXES = 3


@dataclass(frozen=True)
class Answer:
    """One video as an answer to a query. place: from 1, by falling score."""

    place: int
    score: float
    right: bool
    view: View


@dataclass(frozen=True)
class Example:
    """A query: its five best videos, and in detail the right one beside the one that was preferred to it."""

    sentence: str
    kind: str
    rank: float
    top: tuple[Answer, ...]
    details: tuple[Answer, ...]


def examples(found: Retrieval, loss: LossConfig, frame_at: FrameAt, labels: Sequence[str] = ()) -> list[Example]:
    """The best, typical and worst queries, or all of them when there are few. ``labels`` are the detector's classes."""
    ranks_C = found.by_sentence.expected()
    scene = Scene(found.plan.items, found.videos, found.texts, loss, frame_at, labels)
    return [
        _example(found, scene, c, kind, float(ranks_C[c]))
        for kind, c in choose(ranks_C, margins(found.scores_CB, found.plan.owner_C))
    ]


def margins(scores_CB: NDArray[np.floating], owner_C: NDArray[np.integer]) -> NDArray[np.floating]:
    """By how much each sentence [C] scores its own video above the best other one (below it when negative)."""
    rows = np.arange(len(owner_C))
    others = np.array(scores_CB, np.float64)
    others[rows, owner_C] = -np.inf
    return scores_CB[rows, owner_C] - others.max(axis=1)


def choose(ranks_C: NDArray[np.floating], margin_C: NDArray[np.floating]) -> list[tuple[str, int]]:
    """(kind, row) pairs: all when at most ``SHOW_ALL``, else ``PER_KIND`` each of the best, the middle, the worst.

    The best have the lowest rank and, among those, the widest margin.
    """
    order = np.lexsort((-margin_C, ranks_C)).tolist()
    if len(order) <= SHOW_ALL:
        return [("all", c) for c in sorted(order)]
    middle = (len(order) - PER_KIND) // 2
    parts = {"best": order[:PER_KIND], "typical": order[middle : middle + PER_KIND], "worst": order[-PER_KIND:][::-1]}
    return [(kind, c) for kind, chosen in parts.items() for c in chosen]


def _example(found: Retrieval, scene: Scene, c: int, kind: str, rank: float) -> Example:
    scores_B, own, u = found.scores_CB[c], int(found.plan.owner_C[c]), int(found.texts.row_C[c])
    order = np.argsort(-scores_B, kind="stable").tolist()
    places = {b: place for place, b in enumerate(order, start=1)}

    def answer(b: int, boxes: int, maps: bool) -> Answer:
        return Answer(places[b], float(scores_B[b]), b == own, scene.view(b, u, boxes, maps))

    details = [own] if own == order[0] else [own, order[0]]
    return Example(
        found.plan.sentences[c],
        kind,
        rank,
        tuple(answer(b, THUMBNAIL_BOXES, maps=False) for b in order[:TOP]),
        tuple(answer(b, MOST_BOXES, maps=True) for b in details),
    )
