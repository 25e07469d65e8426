"""Which regions of a frame are kept: the R boxes most confident after per-class non-maximum suppression.

A box's confidence is its highest score among the classes in which it survives suppression ("sorted selection").
Letters: N candidate boxes, C classes (without background), R regions kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms


@dataclass(frozen=True)
class Selection:
    """K <= R kept candidates, most confident first: their row int64 [K], class int64 [K] and confidence [K]."""

    rows: Tensor
    classes: Tensor
    confidence: Tensor


def select_regions(scores: Tensor, boxes: Tensor, regions: int, iou: float, min_score: float) -> Selection:
    """Keeps the ``regions`` most confident candidates.

    scores: [N, C] class probabilities. boxes: [N, C, 4] pixel corners, a box for each class (or [N, 1, 4] for all).
    iou: a box is suppressed by a higher-scoring one of the same class that overlaps it by more than this.
    Pairs of equal score are taken in order of row, then class.

    Whether a (box, class) pair survives depends on higher-scoring pairs alone, so pairs are taken in falling order
    only until R boxes have survived: the rest can't change the answer, and most of it is never looked at.
    """
    candidates, classes = scores.shape
    flat = scores.reshape(-1)
    eligible = torch.nonzero(flat > min_score).squeeze(1)
    order = eligible[torch.argsort(flat[eligible], descending=True, stable=True)]
    offset = boxes.double().abs().max() * 2 + 2 if boxes.numel() else boxes.new_zeros((), dtype=torch.float64)
    taken = min(len(order), max(4 * regions, 256))
    while True:
        pairs = order[:taken]
        row, label = pairs // classes, pairs % classes
        corners = boxes[row, label if boxes.shape[1] > 1 else 0].double()
        shifted = corners + (label.double() * offset)[:, None]  # no two classes overlap
        survivors = pairs[nms(shifted, -torch.arange(len(pairs), device=flat.device, dtype=torch.float64), iou)]
        kept = survivors[_first_of_each(survivors // classes, candidates)]
        if len(kept) >= regions or taken == len(order):
            kept = kept[:regions]
            return Selection(kept // classes, kept % classes, flat[kept])
        taken = min(len(order), taken * 4)


def _first_of_each(rows: Tensor, candidates: int) -> Tensor:
    """Positions at which each value of ``rows`` appears first, in order."""
    position = torch.arange(len(rows), device=rows.device)
    first = torch.full((candidates,), len(rows), device=rows.device, dtype=position.dtype)
    first.scatter_reduce_(0, rows, position, reduce="amin")
    return position[first[rows] == position]
