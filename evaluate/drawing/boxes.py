"""Which regions of a video are drawn on its frame, and how.

Letters: N = F*R regions a video, W words, K boxes shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.drawing.alignment import Alignment
from evaluate.embed import Looks

MOST_BOXES = 6
SAME_OBJECT_IOU = 0.5


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


def shown_regions(aligned: Alignment, mask_N: NDArray[np.bool_], looks: Looks, most: int) -> NDArray[np.int64]:
    """The regions [K] to draw, all of one frame: the one that answers best on average.

    Half are those that answer to the sentence most strongly, the rest those to which single words matter most. Boxes
    that cover an object already chosen (IoU above 0.5) are passed over.
    """
    rows = rows_of(best_frame(aligned, mask_N, looks), mask_N, looks)
    boxes_N4 = looks.boxes_FR4.reshape(-1, 4)
    by_answer = rows[np.argsort(-aligned.answer_N[rows], kind="stable")]
    peaks_W = aligned.shares_NW[rows].max(axis=0, initial=0)
    by_word = (
        [rows[aligned.shares_NW[rows, w].argmax()] for w in np.argsort(-peaks_W, kind="stable")] if len(rows) else []
    )
    chosen: list[int] = []
    for candidates, until in ((by_answer, (most + 1) // 2), (by_word, most), (by_answer, most)):
        for n in candidates:
            if len(chosen) >= until:
                break
            if all(iou(boxes_N4[n], boxes_N4[m]) <= SAME_OBJECT_IOU for m in chosen):
                chosen.append(int(n))
    return np.array(sorted(chosen, key=lambda n: -aligned.answer_N[n]), np.int64)


def best_frame(aligned: Alignment, mask_N: NDArray[np.bool_], looks: Looks) -> int:
    """The frame whose regions answer best on average; 0 where no frame has any."""
    mask_FR = mask_N.reshape(looks.boxes_FR4.shape[:2])
    answer_FR = np.where(mask_FR, aligned.answer_N.reshape(mask_FR.shape), 0.0)
    mean_F = answer_FR.sum(1) / np.maximum(mask_FR.sum(1), 1)
    return int(np.where(mask_FR.any(1), mean_F, -np.inf).argmax())


def rows_of(frame: int, mask_N: NDArray[np.bool_], looks: Looks) -> NDArray[np.int64]:
    """The real regions of a frame, as rows of N."""
    per_frame = looks.boxes_FR4.shape[1]
    return frame * per_frame + np.flatnonzero(mask_N.reshape(-1, per_frame)[frame])


def boxes_of(aligned: Alignment, regions_K: NDArray[np.int64], looks: Looks, labels: Sequence[str]) -> tuple[Box, ...]:
    """The boxes of these regions, numbered from 1; weight runs from 0.25 (weakest answer shown) to 1."""
    answers = aligned.answer_N[regions_K]
    span = float(np.ptp(answers)) if len(answers) else 0.0
    boxes = []
    for number, (n, answer) in enumerate(zip(regions_K, answers, strict=True), start=1):
        x1, y1, x2, y2 = corners_of(int(n), looks)
        weight = 0.25 + 0.75 * (float(answer - answers.min()) / span if span > 0 else 1.0)
        boxes.append(Box(number, x1, y1, x2 - x1, y2 - y1, label_of(int(n), looks, labels), float(answer), weight))
    return tuple(boxes)


def corners_of(n: int, looks: Looks) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a region in pixels of its frame."""
    height, width = looks.frame_size
    x1, y1, x2, y2 = (looks.boxes_FR4.reshape(-1, 4)[n] * (width, height, width, height)).tolist()
    return x1, y1, x2, y2


def label_of(n: int, looks: Looks, labels: Sequence[str]) -> str:
    """The detector's name for a region."""
    label = int(looks.labels_FR.reshape(-1)[n])
    return labels[label] if 0 <= label < len(labels) else f"class {label}" if label >= 0 else "region"


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
