"""The attribute head of the bottom-up-attention models that were trained in detectron2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_EMBEDDING = 256
_HIDDEN = 512
ATTRIBUTES = 400


class AttributePredictor(nn.Module):
    """Features and likeliest class of a region -> probabilities of its attributes; there is no "no attribute" class.

    Named as in the published files (``AttributeRes5ROIHeads`` of bottom-up-attention.pytorch).
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.obj_embed = nn.Embedding(classes + 1, _EMBEDDING)  # background, the last, has a row too
        self.fc = nn.Sequential(nn.Linear(features + _EMBEDDING, _HIDDEN), nn.ReLU())
        self.attr_score = nn.Linear(_HIDDEN, ATTRIBUTES)

    def forward(self, features_NV: Tensor, labels_N: Tensor) -> Tensor:
        """Probabilities [N, attributes] for features [N, V] and class numbers [N]."""
        joined = torch.cat([features_NV, self.obj_embed(labels_N)], dim=1)
        return self.attr_score(self.fc(joined)).float().softmax(dim=1)
