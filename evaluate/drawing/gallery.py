"""Sample queries as a page shows them: the best videos, their frames, the boxes, and which box answers to which word.

Letters: B videos, C sentences, N = F*R regions a video, W words of a sentence, K boxes shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_specs.manifest import Item
from evaluate.alignment import Alignment, align
from evaluate.embed import Looks
from evaluate.retrieval import Retrieval

SHOW_ALL = 12
PER_KIND = 3
TOP = 5
MOST_BOXES = 6
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class Picture:
    """A frame as a data URI, or why there is none."""

    uri: str = ""
    problem: str = ""


FrameAt = Callable[[Item, float], Picture]


@dataclass(frozen=True)
class Box:
    """A region on its frame: pixels of the frame, its number on the page, and how strongly it answers in [0, 1]."""

    number: int
    x: float
    y: float
    width: float
    height: float
    label: str
    answer: float
    weight: float


@dataclass(frozen=True)
class Word:
    """A word, the share of attention that each shown box gives it, and the number of the box that gives most.

    ``box`` is 0 where none gives it more than an even share (1 / W): no region answers to this word.
    """

    text: str
    shares: tuple[float, ...]
    box: int


@dataclass(frozen=True)
class View:
    """One video as an answer to a sentence. place: from 1, by falling score. size: (height, width) in pixels."""

    id: str
    place: int
    score: float
    right: bool
    picture: Picture
    timestamp: float
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Example:
    """A query: its five best videos, and in detail the right one beside the one that was preferred to it."""

    sentence: str
    kind: str
    rank: float
    top: tuple[View, ...]
    details: tuple[View, ...]


def examples(found: Retrieval, sharpness: float, frame_at: FrameAt, labels: Sequence[str] = ()) -> list[Example]:
    """The best, typical and worst queries, or all of them when there are few. ``labels`` are the detector's classes."""
    ranks_C = found.by_sentence.expected()
    return [
        _example(found, c, kind, float(ranks_C[c]), sharpness, frame_at, labels)
        for kind, c in choose_queries(ranks_C, margins(found.scores_CB, found.plan.owner_C))
    ]


def margins(scores_CB: NDArray[np.floating], owner_C: NDArray[np.integer]) -> NDArray[np.floating]:
    """By how much each sentence [C] scores its own video above the best other one (below it when negative)."""
    rows = np.arange(len(owner_C))
    others = np.array(scores_CB, np.float64)
    others[rows, owner_C] = -np.inf
    return scores_CB[rows, owner_C] - others.max(axis=1)


def choose_queries(ranks_C: NDArray[np.floating], margin_C: NDArray[np.floating]) -> list[tuple[str, int]]:
    """(kind, query) pairs: all when at most ``SHOW_ALL``, else ``PER_KIND`` each of the best, the middle, the worst."""
    order = np.lexsort((-margin_C, ranks_C)).tolist()
    if len(order) <= SHOW_ALL:
        return [("all", c) for c in sorted(order)]
    middle = (len(order) - PER_KIND) // 2
    parts = {"best": order[:PER_KIND], "typical": order[middle : middle + PER_KIND], "worst": order[-PER_KIND:][::-1]}
    return [(kind, c) for kind, chosen in parts.items() for c in chosen]


def _example(
    found: Retrieval, c: int, kind: str, rank: float, sharpness: float, frame_at: FrameAt, labels: Sequence[str]
) -> Example:
    scores_B, own = found.scores_CB[c], int(found.plan.owner_C[c])
    order = np.argsort(-scores_B, kind="stable")
    places = {int(b): place for place, b in enumerate(order, start=1)}
    row = int(found.texts.row_C[c])

    def view(b: int, most_boxes: int) -> View:
        aligned = align(
            found.videos.regions_BNE[b].numpy(),
            found.videos.mask_BN[b].numpy(),
            found.texts.words[row].numpy(),
            found.texts.tokens[row],
            sharpness,
        )
        looks, item = found.videos.looks[b], found.plan.items[b]
        regions = shown_regions(aligned, found.videos.mask_BN[b].numpy(), looks, most_boxes)
        frame = int(regions[0]) // looks.boxes_FR4.shape[1] if len(regions) else 0
        timestamp = looks.timestamps[frame]
        return View(
            item.id,
            places[b],
            float(scores_B[b]),
            b == own,
            frame_at(item, timestamp),
            timestamp,
            looks.frame_size,
            boxes_of(aligned, regions, looks, labels),
            words_of(aligned, regions),
        )

    first = int(order[0])
    details = [own] if own == first else [own, first]
    return Example(
        found.plan.sentences[c],
        kind,
        rank,
        tuple(view(int(b), 3) for b in order[:TOP]),
        tuple(view(b, MOST_BOXES) for b in details),
    )


def shown_regions(aligned: Alignment, mask_N: NDArray[np.bool_], looks: Looks, most: int) -> NDArray[np.int64]:
    """The regions [K] to draw, all of one frame: the one that answers best on average.

    Half are those that answer to the sentence most strongly, the rest those to which single words matter most. Boxes
    that cover an object already chosen (IoU above 0.5) are passed over.
    """
    frames, per_frame, _ = looks.boxes_FR4.shape
    mask_FR = mask_N.reshape(frames, per_frame)
    if not mask_FR.any():
        return np.zeros(0, np.int64)
    answer_FR = aligned.answer_N.reshape(frames, per_frame)
    mean_F = np.where(mask_FR, answer_FR, 0).sum(1) / np.maximum(mask_FR.sum(1), 1)
    frame = int(np.where(mask_FR.any(1), mean_F, -np.inf).argmax())
    rows = frame * per_frame + np.flatnonzero(mask_FR[frame])
    boxes_N4 = looks.boxes_FR4.reshape(-1, 4)
    by_answer = rows[np.argsort(-aligned.answer_N[rows], kind="stable")]
    peaks_W = aligned.shares_NW[rows].max(axis=0, initial=0)
    by_word = [rows[aligned.shares_NW[rows, w].argmax()] for w in np.argsort(-peaks_W, kind="stable")]
    chosen: list[int] = []
    for candidates, until in ((by_answer, (most + 1) // 2), (by_word, most), (by_answer, most)):
        for n in candidates:
            if len(chosen) >= until:
                break
            if all(iou(boxes_N4[n], boxes_N4[m]) <= SAME_OBJECT_IOU for m in chosen):
                chosen.append(int(n))
    return np.array(sorted(chosen, key=lambda n: -aligned.answer_N[n]), np.int64)


def boxes_of(aligned: Alignment, regions_K: NDArray[np.int64], looks: Looks, labels: Sequence[str]) -> tuple[Box, ...]:
    """The boxes of these regions, numbered from 1; weight runs from 0.25 (weakest answer shown) to 1."""
    height, width = looks.frame_size
    answers = aligned.answer_N[regions_K]
    span = float(np.ptp(answers)) if len(answers) else 0.0
    boxes = []
    for number, (n, answer) in enumerate(zip(regions_K, answers, strict=True), start=1):
        x1, y1, x2, y2 = (looks.boxes_FR4.reshape(-1, 4)[n] * (width, height, width, height)).tolist()
        label = int(looks.labels_FR.reshape(-1)[n])
        name = labels[label] if 0 <= label < len(labels) else f"class {label}" if label >= 0 else "region"
        weight = 0.25 + 0.75 * (float(answer - answers.min()) / span if span > 0 else 1.0)
        boxes.append(Box(number, x1, y1, x2 - x1, y2 - y1, name, float(answer), weight))
    return tuple(boxes)


def words_of(aligned: Alignment, regions_K: NDArray[np.int64]) -> tuple[Word, ...]:
    """The words with their share of each shown box's attention, and the box that answers to each."""
    shares_KW = aligned.shares_NW[regions_K]
    found = []
    for w, text in enumerate(aligned.words):
        shares = shares_KW[:, w].tolist()
        answered = max(shares, default=0.0) * len(aligned.words) > 1.0
        found.append(Word(text, tuple(shares), shares.index(max(shares)) + 1 if answered else 0))
    return tuple(found)


def iou(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    overlap = float(np.prod(np.clip(sides, 0, None)))
    areas = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
    return overlap / (areas - overlap) if areas > overlap else 0.0
