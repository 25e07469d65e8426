"""From RPN outputs to proposals, as the Caffe models of bottom-up-attention do it: corners are pixels, both inclusive.

Letters: F frames, H W the map's sides, A anchors a cell, P = H * W * A candidates in the order rows, columns, anchors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extract.networks.suppression import caffe_overlap, suppress
from extract.presets import BottomUpSettings

STRIDE = 16
_BASE = 16
_RATIOS = (0.5, 1.0, 2.0)
_SCALES = (4.0, 8.0, 16.0, 32.0)
_LARGEST_DELTA = math.log(1000 / 16)


def classical_anchors() -> NDArray[np.float32]:
    """The 12 anchors [A, 4] of classical Faster R-CNN (``generate_anchors``): 3 ratios, and 4 scales of each.

    The base is the square of pixels 0 to 15; its sides at each ratio are rounded to whole pixels before scaling.
    """
    centre = (_BASE - 1) / 2
    widths = np.round(np.sqrt(_BASE * _BASE / np.array(_RATIOS)))
    sides = np.stack([widths, np.round(widths * np.array(_RATIOS))], axis=1)
    half = (sides[:, None, :] * np.array(_SCALES)[None, :, None] - 1).reshape(-1, 2) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def objectness(logits: Tensor) -> Tensor:
    """Probability of "object" [F, P] from logits [F, 2A, H, W] laid out (2, A): softmax over the 2, the second."""
    frames, channels, height, width = logits.shape
    pairs = logits.float().view(frames, 2, channels // 2, height, width)
    return pairs.softmax(dim=1)[:, 1].permute(0, 2, 3, 1).reshape(frames, -1)


def decode(deltas: Tensor, anchors_A4: Tensor) -> Tensor:
    """Boxes [F, P, 4] from deltas [F, 4A, H, W] laid out (A, 4), for anchors on the stride-16 grid from 0."""
    frames, _, height, width = deltas.shape
    x = torch.arange(width, device=deltas.device, dtype=torch.float32) * STRIDE
    y = torch.arange(height, device=deltas.device, dtype=torch.float32) * STRIDE
    shift = torch.stack([x.expand(height, width), y[:, None].expand(height, width)] * 2, dim=-1)
    anchors = (shift[:, :, None] + anchors_A4).reshape(-1, 4)
    moves = deltas.float().view(frames, len(anchors_A4), 4, height, width).permute(0, 3, 4, 1, 2).reshape(frames, -1, 4)
    sides = anchors[:, 2:] - anchors[:, :2] + 1
    centres = moves[..., :2] * sides + (anchors[:, :2] + 0.5 * sides)
    half = 0.5 * (moves[..., 2:].clamp(max=_LARGEST_DELTA).exp() * sides)
    return torch.cat([centres - half, centres + half], dim=-1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Corners [..., 4] moved into pixels 0 to side - 1 of an image of ``size = (height, width)``."""
    last = boxes.new_tensor([size[1] - 1, size[0] - 1] * 2)
    return torch.minimum(boxes.clamp(min=0), last)


def large_enough(boxes: Tensor, least: float) -> Tensor:
    """bool [...]: right of and below its first corner, and both sides, in pixels, above ``least``."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return ((sides > 0) & (sides + 1 > least)).all(dim=-1)


def propose(
    logits: Tensor,
    deltas: Tensor,
    anchors_A4: Tensor,
    size: tuple[int, int],
    scale: float,
    settings: BottomUpSettings,
) -> list[Tensor]:
    """Each frame's proposals [at most ``settings.proposals``, 4], most confident first, in pixels of the resized image.

    size: (height, width) of that image. scale: it over the frame. Candidates of equal score come in their order.
    """
    scores_FP = objectness(logits)
    boxes = clip(decode(deltas, anchors_A4), size)
    usable = large_enough(boxes, settings.min_side * scale) & torch.isfinite(scores_FP)
    scores_FP = torch.where(usable, scores_FP, -1.0)
    order = scores_FP.argsort(dim=1, descending=True, stable=True)[:, : settings.candidates]
    counts = usable.sum(dim=1).clamp(max=settings.candidates).tolist()
    best = boxes.gather(1, order[..., None].expand(-1, -1, 4)).cpu().numpy()  # one transfer; suppression is a walk
    overlap = caffe_overlap(settings.rpn_nms)
    found = []
    for candidates, count in zip(best, counts, strict=True):
        kept = candidates[:count][suppress(candidates[:count], overlap, settings.proposals)]
        found.append(torch.from_numpy(kept).to(boxes.device))
    return found
