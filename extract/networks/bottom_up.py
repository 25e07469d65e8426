"""The "caffe" bottom-up-attention detectors as a function from frames to candidates, with every stage on its own.

What they do differently from detectron2 is kept as it was trained: see the stages, ``bottom_up_rpn`` and the network.
Letters: F frames, N regions over all frames, V feature width, h w sides of the resized frame, H W of the map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_pool

from data_specs.errors import InputError
from extract.networks.bottom_up_network import BottomUpNetwork
from extract.networks.bottom_up_rpn import STRIDE, propose
from extract.networks.candidates import Candidates
from extract.networks.suppression import Overlap, caffe_overlap
from extract.networks.weights import fit_weights
from extract.presets import DetectorSettings

_POOLED = 14
_SMALLEST = 3  # of a shorter side nothing is left after the stem
_MAY_BE_UNUSED = ("num_batches_tracked",)
_MAY_BE_ABSENT = ("num_batches_tracked", "anchor_generator.cell_anchors")


class BottomUp:
    """A network with its weights; frames of one size go through it in one batch, without padding."""

    def __init__(self, settings: DetectorSettings, weights: Path, device: str) -> None:
        """Builds the network and loads its weights.

        Raises:
            InputError: the weights do not fit the network.
        """
        if settings.bottom_up is None:
            raise InputError(f"detector {settings.name!r}: family bottom-up-caffe needs the key bottom_up")
        self.settings, self.bottom_up = settings, settings.bottom_up
        self.width = 32 * self.bottom_up.width
        self.classes, self.attributes = self.bottom_up.num_classes, self.bottom_up.num_attributes
        self.network = BottomUpNetwork(self.bottom_up).eval()
        fit_weights(self.network, weights, _MAY_BE_UNUSED, _MAY_BE_ABSENT)
        order = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network.to(device, memory_format=order)
        self.device, self.order = torch.device(device), order

    @property
    def overlap(self) -> Overlap:
        """How its selection compares boxes."""
        return caffe_overlap(self.settings.nms)

    def candidates(self, images: NDArray[np.uint8]) -> list[Candidates]:
        """The proposals of each frame of images uint8 [F, H, W, 3] RGB, with features, scores and attributes."""
        resized, scale = self.prepare(images)
        if min(resized.shape[-2:]) < _SMALLEST:
            return [self._nothing()] * len(images)
        maps = self.network.roi_heads.shared(self.network.backbone(resized))
        proposals = self.propose(maps, resized.shape[-2:], scale)
        features_NV = self.features(maps, proposals)
        scores, attributes = self.network.roi_heads.box_predictor(features_NV)
        counts = [len(boxes) for boxes in proposals]
        parts = zip(features_NV.split(counts), scores.split(counts), attributes.split(counts), proposals, strict=True)
        return [
            Candidates(features, classes[:, 1:], boxes[:, None] / scale, *best_attributes(found))
            for features, classes, found, boxes in parts
        ]

    def _nothing(self) -> Candidates:
        none = torch.zeros(0, device=self.device)
        features, scores, boxes = none.view(0, 1).expand(0, self.width), none.view(0, 1), none.view(0, 1, 1)
        return Candidates(features, scores.expand(0, self.classes), boxes.expand(0, 1, 4), none.long(), none)

    def prepare(self, images: NDArray[np.uint8]) -> tuple[Tensor, float]:
        """Frames uint8 [F, H, W, 3] RGB as network input [F, 3, h, w], and h over H.

        Blue first, the mean subtracted before resizing; bilinear between pixel centres without antialias, as OpenCV's
        INTER_LINEAR does it with one scale: that scale, not the rounded sizes, says where a pixel comes from.
        """
        height, width = images.shape[1:3]
        scale = self.bottom_up.shorter_side / min(height, width)
        if round(scale * max(height, width)) > self.bottom_up.longer_side:
            scale = self.bottom_up.longer_side / max(height, width)
        size = [max(round(height * scale), 1), max(round(width * scale), 1)]
        mean = torch.tensor(self.bottom_up.pixel_mean, device=self.device)[:, None, None]
        resized = []
        for image in images:  # one at a time: in single precision a large frame takes many times its bytes
            frame = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1).flip(0).float()
            centred = (frame - mean)[None].contiguous()
            resized.append(torch.ops.aten.upsample_bilinear2d(centred, size, False, scale, scale))
        return torch.cat(resized).contiguous(memory_format=self.order), scale

    def propose(self, maps: Tensor, size: tuple[int, int], scale: float) -> list[Tensor]:
        """Each frame's proposals [N, 4] in pixels of the resized frame of ``size = (h, w)``, of maps [F, C, H, W]."""
        generator = self.network.proposal_generator
        logits, deltas = generator.rpn_head(maps)
        return propose(logits, deltas, generator.anchors, size, scale, self.bottom_up)

    def pool(self, maps: Tensor, rois_N5: Tensor) -> Tensor:
        """RoIPool (not RoIAlign) of regions (frame, x1, y1, x2, y2): [N, C, 14, 14]."""
        return roi_pool(maps, rois_N5, _POOLED, 1 / STRIDE).contiguous(memory_format=self.order)

    def features(self, maps: Tensor, proposals: list[Tensor]) -> Tensor:
        """Features [N, V]: the mean of res5 over each pooled map, ``rois_per_pass`` regions at a time."""
        frame = [boxes.new_full((len(boxes), 1), number) for number, boxes in enumerate(proposals)]
        rois_N5 = torch.cat([torch.cat(frame), torch.cat(proposals)], dim=1)
        maps = maps.float()
        return torch.cat(
            [
                self.network.roi_heads.transform(self.pool(maps, rois)).float().mean(dim=(2, 3))
                for rois in rois_N5.split(self.settings.rois_per_pass)
            ]
        )


def best_attributes(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Label [N] and score [N] of the likeliest attribute of scores [N, 1 + attributes]; -1 and 0 where it is none."""
    best, label = scores.max(dim=1)
    return label - 1, torch.where(label > 0, best, 0.0)
