"""What a network found in a frame, and the kept part of it as stored regions.

Letters: N candidates, C classes without background, R regions, V feature width.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from data_specs.regions import BOX_DIM, Regions, boxes_from_corners
from extract.selection import Selection

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Candidates:
    """The candidates of one frame, before selection.

    features_NV: float32. scores_NC: probabilities. boxes: [N, C, 4], or [N, 1, 4] where classes share them; pixel
    corners in the frame. attribute_labels_N: -1 where none. attribute_scores_N: in [0, 1]; both or neither.
    """

    features_NV: Tensor
    scores_NC: Tensor
    boxes: Tensor
    attribute_labels_N: Tensor | None = None
    attribute_scores_N: Tensor | None = None

    def inside(self, size: tuple[int, int]) -> Self:
        """The same with boxes cut to a frame of ``size = (height, width)``; what is not finite scores 0 everywhere."""
        finite = torch.isfinite(self.boxes).flatten(1).all(1) & torch.isfinite(self.scores_NC).all(1)
        finite &= torch.isfinite(self.features_NV).all(1)
        corners = torch.nan_to_num(self.boxes).clamp(min=0)
        return dataclasses.replace(
            self,
            scores_NC=torch.where(finite[:, None], self.scores_NC, 0.0),
            boxes=torch.minimum(corners, corners.new_tensor([size[1], size[0]] * 2)),
        )

    def pack(self, kept: Selection, regions: int, size: tuple[int, int]) -> Regions:
        """The kept ones as the R = ``regions`` regions of a frame, padded; features in half precision."""
        count = len(kept.rows)
        corners = self.boxes[kept.rows, kept.classes if self.boxes.shape[1] > 1 else 0]
        fields = {
            "features": self.features_NV[kept.rows].clamp(-_LARGEST, _LARGEST),
            "scores": kept.confidence.clamp(0, 1),
            "labels": kept.classes,
        }
        if self.attribute_labels_N is not None and self.attribute_scores_N is not None:
            fields["attribute_labels"] = self.attribute_labels_N[kept.rows]
            fields["attribute_scores"] = self.attribute_scores_N[kept.rows].clamp(0, 1)
        packed = {name: np.zeros((1, regions, *values.shape[1:]), _TYPES[name]) for name, values in fields.items()}
        for name, values in fields.items():
            packed[name][0, :count] = values.cpu().numpy()
            packed[name][0, count:] = -1 if name in ("labels", "attribute_labels") else 0
        boxes = np.zeros((1, regions, BOX_DIM), np.float32)
        boxes[0, :count] = boxes_from_corners(corners.cpu().numpy(), size)
        return Regions(boxes=boxes, count=np.array([count], np.int32), **packed)


_TYPES = {
    "features": np.float16,
    "scores": np.float32,
    "labels": np.int32,
    "attribute_labels": np.int32,
    "attribute_scores": np.float32,
}
