"""Selection of a frame's regions against the loop it replaces: one NMS call a class, 1,600 of them.

300 boxes around 12 objects, 1,600 classes, 30 regions kept. Cases: "peaked", softmax scores as a trained detector gives
them; "flat", those of random weights; "uniform", independent random numbers; "ties", peaked ones in few levels;
"exhausted", where fewer than 30 boxes survive in any class, so that every pair must be looked at: our worst, and so
easy for the loop (each call keeps a few boxes) that it may win.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from extract.networks.suppression import detectron2_overlap
from extract.selection import select_regions

_BOXES, _CLASSES, _OBJECTS, _REGIONS, _IOU = 300, 1600, 12, 30, 0.3


def measure(rounds: int) -> dict[str, dict[str, float | bool]]:
    """Medians over ``rounds``, loop and ours by turns: milliseconds a frame, their ratio, and whether they agree."""
    found = {}
    for name, (scores, boxes) in make_cases(np.random.default_rng(0)).items():
        loop_s, ours_s, agree = [], [], True
        for _ in range(rounds):
            start = time.perf_counter()
            rows, confidence = by_loop(scores, boxes)
            middle = time.perf_counter()
            kept = select_regions(scores, boxes[:, None], _REGIONS, detectron2_overlap(_IOU), 0.0)
            end = time.perf_counter()
            loop_s.append(middle - start)
            ours_s.append(end - middle)
            count = len(kept.rows)
            agree &= torch.equal(rows[:count], kept.rows) and torch.equal(confidence[rows[:count]], kept.confidence)
            agree &= count == min(_REGIONS, int((confidence > 0).sum()))
        loop, ours = statistics.median(loop_s), statistics.median(ours_s)
        found[name] = {
            "loop_ms": round(1e3 * loop, 2),
            "ours_ms": round(1e3 * ours, 2),
            "loop_over_ours": round(loop / ours, 1),
            "agree": bool(agree),
        }
    return found


def by_loop(scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What the reference does: rows of the most confident boxes, and the confidence of every box."""
    confidence = torch.zeros(len(scores))
    for label in range(scores.shape[1]):
        of_class = scores[:, label]
        keep = nms(boxes, of_class, _IOU)
        confidence[keep] = torch.where(of_class[keep] > confidence[keep], of_class[keep], confidence[keep])
    return confidence.argsort(descending=True, stable=True)[:_REGIONS], confidence


def make_cases(rng: np.random.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Scores [300, 1600] and boxes [300, 4] by name."""
    centre, side = rng.uniform(100, 700, (_OBJECTS, 2)), rng.uniform(60, 300, (_OBJECTS, 2))
    of = rng.integers(0, _OBJECTS, _BOXES)
    middle = centre[of] + rng.normal(0, 0.25, (_BOXES, 2)) * side[of]
    half = side[of] * np.exp(rng.normal(0, 0.35, (_BOXES, 2))) / 2
    boxes = torch.from_numpy(np.clip(np.concatenate([middle - half, middle + half], axis=1), 0, 799)).float()
    logits = rng.normal(0, 1, (_BOXES, _CLASSES + 1))
    logits[:, -1] = 6  # background
    for row, owner in enumerate(of):
        if rng.random() < 0.6:
            logits[row, (37 * owner + 11 * np.arange(6)) % _CLASSES] += rng.uniform(4, 10, 6)
    peaked = _foreground(logits)
    alike = torch.linspace(1, 0.5, _BOXES)[:, None] * torch.rand(
        1, _CLASSES, generator=torch.Generator().manual_seed(0)
    )
    one_place = torch.tensor([[10.0, 10, 200, 200]]) + boxes / 1000
    return {
        "peaked": (peaked, boxes),
        "flat": (_foreground(rng.normal(0, 0.05, (_BOXES, _CLASSES + 1))), boxes),
        "uniform": (torch.from_numpy(rng.random((_BOXES, _CLASSES))).float(), boxes),
        "ties": ((peaked * 64).round() / 64 + 1 / 128, boxes),
        "exhausted": (alike, one_place),
    }


def _foreground(logits: np.ndarray) -> Tensor:
    return torch.from_numpy(logits).softmax(dim=1)[:, :-1].float().contiguous()
