"""Overlap of boxes under the two pixel conventions, and greedy non-maximum suppression that is exact at ties.

Letters: N boxes, M boxes. Corners are x1, y1, x2, y2 in pixels. Everything is computed in the boxes' own precision, in
the order of operations of the implementations it stands for, so that equal inputs give equal answers to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]


@dataclass(frozen=True)
class Overlap:
    """When one box suppresses another.

    iou: the limit. pixel: added to every side, 1 where corners are the numbers of the first and the last pixel.
    inclusive: an IoU equal to the limit suppresses too.
    """

    iou: float
    pixel: int = 0
    inclusive: bool = False

    def areas(self, boxes: Boxes) -> Boxes:
        """Areas [...] of boxes [..., 4]."""
        return (boxes[..., 2] - boxes[..., 0] + self.pixel) * (boxes[..., 3] - boxes[..., 1] + self.pixel)

    def suppressed(self, boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
        """bool [...], true where a box [..., 4] suppresses the other [..., 4]; leading axes broadcast."""
        width = np.minimum(boxes[..., 2], others[..., 2]) - np.maximum(boxes[..., 0], others[..., 0]) + self.pixel
        height = np.minimum(boxes[..., 3], others[..., 3]) - np.maximum(boxes[..., 1], others[..., 1]) + self.pixel
        both = np.maximum(width, 0) * np.maximum(height, 0)
        union = self.areas(boxes) + self.areas(others) - both
        with np.errstate(divide="ignore", invalid="ignore"):  # two boxes without area: 0 / 0, which suppresses nothing
            found = both / union
        return found >= boxes.dtype.type(self.iou) if self.inclusive else found > boxes.dtype.type(self.iou)


def detectron2_overlap(iou: float) -> Overlap:
    """Corners are points: width = x2 - x1; only an IoU above the limit suppresses."""
    return Overlap(iou)


def caffe_overlap(iou: float) -> Overlap:
    """Corners are pixels: width = x2 - x1 + 1; an IoU that reaches the limit suppresses."""
    return Overlap(iou, pixel=1, inclusive=True)


def suppress(boxes: Boxes, overlap: Overlap, most: int) -> NDArray[np.int64]:
    """Rows of the first ``most`` survivors of boxes [N, 4] that come most confident first.

    Only the survivors are compared with the boxes after them, so the work is ``most`` rows of N, not N rows of N.
    """
    alive = np.ones(len(boxes), bool)
    columns = np.ascontiguousarray(boxes.T)
    kept: list[int] = []
    at = 0
    while len(kept) < most:
        ahead = int(alive[at:].argmax()) if at < len(boxes) else 0
        if at >= len(boxes) or not alive[at + ahead]:
            break
        at += ahead
        kept.append(at)
        at += 1
        alive[at:] &= ~overlap.suppressed(columns[:, at - 1].copy(), columns[:, at:].T)
    return np.array(kept, np.int64)
