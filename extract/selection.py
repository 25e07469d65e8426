"""Which regions of a frame are kept.

Ours ("survivors"): the R boxes most confident after per-class non-maximum suppression, a box's confidence being its
highest score among the classes in which it survives. The reference's: see ``select_as_reference``.
Letters: N candidate boxes, C classes (without background), R regions kept, G classes looked at, K regions found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extract.networks.suppression import Overlap

_FIRST_LOOK = 2  # times the regions wanted: the level is where so many boxes have their best class, then as below
_SECOND_LOOK = 8


@dataclass(frozen=True)
class Selection:
    """K <= R kept candidates, most confident first: their row int64 [K], class int64 [K] and confidence [K]."""

    rows: Tensor
    classes: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class ReferenceRule:
    """What the reference keeps: boxes of at least ``confidence``, no fewer than ``fewest``, no more than ``most``."""

    fewest: int
    most: int
    confidence: float


def select_regions(scores: Tensor, boxes: Tensor, regions: int, overlap: Overlap, min_score: float) -> Selection:
    """Keeps the ``regions`` most confident candidates; exact, ties included.

    scores: [N, C] class probabilities. boxes: [N, C, 4] pixel corners, a box for each class (or [N, 1, 4] for all).
    overlap: when a box is suppressed by a higher-scoring one of the same class. min_score: at least 0; a (box, class)
    pair at or below it does not count.
    Pairs of equal score are taken in order of row, then class.

    Whether a pair survives depends on higher-scoring pairs of its class alone. So only pairs above a level are looked
    at; when R boxes survive there, no pair below can change the answer. Otherwise the level sinks.
    """
    table, corners = scores.cpu().numpy(), boxes.cpu().numpy()
    confidence_N, label_N = _most_confident(table, corners, regions, overlap, min_score)
    order = np.argsort(-confidence_N, kind="stable")[:regions]
    rows = order[confidence_N[order] > min_score]
    return _selection(scores, rows, label_N[rows])


def select_as_reference(
    scores: Tensor, boxes: Tensor, regions: int, overlap: Overlap, rule: ReferenceRule
) -> Selection:
    """Keeps what the bottom-up-attention release keeps; arguments as in ``select_regions``.

    First its extractor: the boxes whose confidence after suppression reaches ``rule.confidence``, in the order of
    their rows; where they are fewer than ``rule.fewest`` or more than ``rule.most``, so many of the most confident.
    Then the release: of these the ``regions`` highest by plain class score, the maximum over all the classes,
    suppressed or not. That score and its class are what is returned. Ties: in the order of the step before.
    """
    table, corners = scores.cpu().numpy(), boxes.cpu().numpy()
    if not table.size:
        return _selection(scores, *np.zeros((2, 0), np.int64))
    enough = table.dtype.type(rule.confidence)
    confidence_N, _ = _confidences(table, corners, overlap, enough, 0.0)
    rows = np.flatnonzero(confidence_N >= enough)
    if len(rows) > rule.most:
        rows = np.argsort(-confidence_N, kind="stable")[: rule.most]
    elif len(rows) < rule.fewest:
        confidence_N, _ = _most_confident(table, corners, rule.fewest, overlap, 0.0)
        rows = np.argsort(-np.maximum(confidence_N, 0), kind="stable")[: rule.fewest]
    rows = rows[np.argsort(-table[rows].max(axis=1), kind="stable")][:regions]
    return _selection(scores, rows, table[rows].argmax(axis=1))


def _selection(scores: Tensor, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> Selection:
    kept = torch.from_numpy(rows).to(scores.device), torch.from_numpy(labels).to(scores.device)
    return Selection(*kept, scores[kept])


def _most_confident(
    table: NDArray, corners: NDArray, count: int, overlap: Overlap, min_score: float
) -> tuple[NDArray, NDArray[np.int64]]:
    """``_confidences`` down to a level at which ``count`` boxes survive, so that the best ``count`` are right."""
    best_N = table.max(axis=1, initial=0)
    for wanted in (_FIRST_LOOK * count, _SECOND_LOOK * count):
        if wanted < len(best_N) and (level := np.partition(best_N, -wanted)[-wanted]) > min_score:
            found = _confidences(table, corners, overlap, level, min_score)
            if (found[0] > min_score).sum() >= count:
                return found
    return _confidences(table, corners, overlap, -np.inf, min_score)


def _confidences(
    table: NDArray, corners: NDArray, overlap: Overlap, level: float, min_score: float
) -> tuple[NDArray, NDArray]:
    """Each box's confidence [N] and its class [N] among the pairs at or above ``level``; -inf where none survives."""
    within = (table >= level) & (table > min_score)
    classes_G = np.flatnonzero(within.any(axis=0))
    rows, group = np.nonzero(within[:, classes_G])
    order = _class_by_class(group, table[rows, classes_G[group]], rows)
    rows, group = rows[order], group[order]
    survives = _survivors(rows, group, classes_G, corners, overlap)
    confidence_NG = np.full((len(table), max(len(classes_G), 1)), -np.inf, table.dtype)
    rows, group = rows[survives], group[survives]
    confidence_NG[rows, group] = table[rows, classes_G[group]]
    best_N = confidence_NG.argmax(axis=1)  # of equal ones the first class
    label_N = classes_G[best_N] if len(classes_G) else best_N
    return confidence_NG[np.arange(len(table)), best_N], label_N


def _class_by_class(group: NDArray, values: NDArray, rows: NDArray) -> NDArray[np.int64]:
    """Order of pairs by class, then falling score, then row; they come in order of row.

    Single precision goes into one whole number a pair, whose sorting takes a tenth of the time.
    """
    if values.dtype != np.float32 or max(group.max(initial=0), rows.max(initial=0)) >= 1 << 16:
        falling = np.argsort(-values, kind="stable")
        return falling[np.argsort(group[falling], kind="stable")]
    falling_bits = np.int64(0x7FFFFFFF) - values.view(np.int32)  # numbers >= 0 are ordered as their bits are
    return np.argsort((group.astype(np.int64) << 47) | (falling_bits << 16) | rows)


def _survivors(rows: NDArray, group: NDArray, classes_G: NDArray, corners: NDArray, overlap: Overlap) -> NDArray:
    """bool, which of the pairs survive; they come class by class, each class in falling order of score.

    Classes are independent, so the first pair of every class is decided in one step, then the second, and so on.
    What is suppressed is kept as bits, eight boxes a byte.
    """
    counts = np.bincount(group, minlength=len(classes_G))
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[group]  # among the pairs of its class
    by_place = np.argsort(place.astype(np.min_scalar_type(len(corners))), kind="stable")  # 16 bits: by radix
    steps = np.split(by_place, np.cumsum(np.bincount(place))[:-1]) if len(rows) else []
    shared = None
    if corners.shape[1] == 1:
        shared = np.packbits(overlap.suppressed(corners, corners[:, 0]), axis=1)
    dead_GB = np.zeros((len(classes_G), (len(corners) + 7) // 8), np.uint8)
    survives = np.zeros(len(rows), bool)
    for pairs in steps:
        row, at = rows[pairs], group[pairs]
        alive = (dead_GB[at, row >> 3] >> (7 - (row & 7))) & 1 == 0
        pairs, row, at = pairs[alive], row[alive], at[alive]
        survives[pairs] = True
        if shared is not None:
            dead_GB[at] |= shared[row]
        else:
            label = classes_G[at]
            others = corners[:, label].swapaxes(0, 1)
            dead_GB[at] |= np.packbits(overlap.suppressed(corners[row, label][:, None], others), axis=1)
    return survives
