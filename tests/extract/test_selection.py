"""Selection equals the plain per-class loop, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from extract.networks.suppression import Overlap, caffe_overlap, detectron2_overlap, suppress
from extract.selection import ReferenceRule, select_as_reference, select_regions

CONVENTIONS = {"detectron2": (detectron2_overlap, 0, False), "caffe": (caffe_overlap, 1, True)}


def overlap_of(a: np.ndarray, b: np.ndarray, pixel: int) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    union = sum(areas) - both
    return both / union if union else 0.0


def confidences_by_loop(
    scores: np.ndarray, boxes: np.ndarray, iou: float, pixel: int, inclusive: bool
) -> dict[int, tuple[float, int]]:
    """Suppression class by class, box by box; then the best surviving class of every box."""
    best: dict[int, tuple[float, int]] = {}
    for label in range(scores.shape[1]):
        order = [i for i in np.argsort(-scores[:, label], kind="stable") if scores[i, label] > 0]
        corners = boxes[:, label if boxes.shape[1] > 1 else 0]
        kept: list[int] = []
        for i in order:
            found = [overlap_of(corners[i], corners[j], pixel) for j in kept]
            if not any(value >= iou if inclusive else value > iou for value in found):
                kept.append(i)
        for i in kept:
            if i not in best or scores[i, label] > best[i][0]:
                best[i] = (float(scores[i, label]), label)
    return best


def by_loop(
    scores: np.ndarray, boxes: np.ndarray, regions: int, iou: float, pixel: int, inclusive: bool
) -> list[tuple[int, int, float]]:
    best = confidences_by_loop(scores, boxes, iou, pixel, inclusive)
    ranked = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))
    return [(row, label, score) for row, (score, label) in ranked[:regions]]


def reference_by_loop(
    scores: np.ndarray, boxes: np.ndarray, regions: int, iou: float, rule: ReferenceRule
) -> list[tuple[int, int, float]]:
    """The extractor's choice, then the release's, step by step."""
    best = confidences_by_loop(scores, boxes, iou, 1, True)
    confidence = [best[row][0] if row in best else 0.0 for row in range(len(scores))]
    rows = [row for row in range(len(scores)) if confidence[row] >= rule.confidence]
    falling = sorted(range(len(scores)), key=lambda row: -confidence[row])
    if len(rows) < rule.fewest:
        rows = falling[: rule.fewest]
    elif len(rows) > rule.most:
        rows = falling[: rule.most]
    rows = sorted(rows, key=lambda row: -scores[row].max())[:regions]
    return [(row, int(scores[row].argmax()), float(scores[row].max())) for row in rows]


def as_list(kept) -> list[tuple[int, int, float]]:
    return list(zip(kept.rows.tolist(), kept.classes.tolist(), kept.confidence.tolist(), strict=True))


def random_case(seed: int, n: int, c: int, per_class_boxes: bool, levels: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (n, c)) / levels  # few levels: many exact ties
    start = rng.integers(0, 40, (n, c if per_class_boxes else 1, 2)).astype(np.float64)
    boxes = np.concatenate([start, start + rng.integers(1, 30, start.shape)], axis=-1)
    return torch.from_numpy(scores), torch.from_numpy(boxes)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_thousand_cases_equal_the_loop(convention: str) -> None:
    overlap, *rest = CONVENTIONS[convention]
    rng = np.random.default_rng(7)
    for seed in range(1000):
        n, c = (int(rng.integers(1, high)) for high in (26, 13))
        levels, per_class = int(rng.choice([2, 3, 10, 1_000_000])), bool(rng.random() < 0.4)
        regions, iou = int(rng.integers(1, 12)), float(rng.choice([0.25, 0.3, 0.5, 0.7]))
        scores, boxes = random_case(seed, n, c, per_class, levels)
        scores = scores.float() if seed % 2 else scores
        kept = select_regions(scores, boxes, regions, overlap(iou), 0.0)
        assert as_list(kept) == by_loop(scores.numpy(), boxes.numpy(), regions, iou, *rest), seed


def by_torchvision(scores: Tensor, boxes: Tensor, regions: int, iou: float) -> tuple[list[int], list[float]]:
    """The loop of 1,600 calls that the reference runs."""
    confidence = torch.zeros_like(scores[:, 0])
    for label in range(scores.shape[1]):
        order = scores[:, label].argsort(descending=True, stable=True)
        keep = order[nms(boxes[order], -torch.arange(len(order), dtype=torch.float64), iou)]
        confidence[keep] = torch.maximum(confidence[keep], scores[keep, label])
    rows = confidence.argsort(descending=True, stable=True)[:regions]
    return rows.tolist(), confidence[rows].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_whole_frames_equal_the_loop(seed: int) -> None:
    """300 boxes x 1,600 classes: peaked softmax scores, flat random ones, and ones with many exact ties."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 500, (12, 2))[rng.integers(0, 12, 300)] + rng.integers(-25, 25, (300, 2))
    boxes = torch.from_numpy(np.concatenate([centre, centre + rng.integers(30, 200, (300, 2))], axis=1).astype(float))
    logits = torch.from_numpy(rng.normal(0, (0.1, 2.0, 1.0)[seed % 3], (300, 1600)))
    scores = torch.softmax(logits + 3.0 * (torch.from_numpy(rng.random((300, 1600))) > 0.998), dim=1)
    if seed % 3 == 2:
        scores = (scores * 300).round() / 300
    scores = scores.float() if seed < 3 else scores
    for regions in (30, 100):
        kept = select_regions(scores, boxes[:, None], regions, detectron2_overlap(0.3), 0.0)
        rows, confidence = by_torchvision(scores, boxes, regions, 0.3)
        assert (kept.rows.tolist(), kept.confidence.tolist()) == (rows, confidence)


def test_a_whole_frame_in_the_caffe_convention_equals_the_loop() -> None:
    scores, boxes = random_case(3, 300, 60, False, 50)
    boxes = boxes * 4
    kept = select_regions(scores, boxes, 30, caffe_overlap(0.3), 0.0)
    assert as_list(kept) == by_loop(scores.numpy(), boxes.numpy(), 30, 0.3, 1, True)


def test_the_reference_choice_equals_the_loop() -> None:
    rng = np.random.default_rng(11)
    for seed in range(300):
        n, levels = int(rng.integers(1, 40)), int(rng.choice([3, 10, 1000]))
        scores, boxes = random_case(seed, n, 6, False, levels)
        scores = (scores * torch.from_numpy(rng.random((n, 1)) < rng.random())).contiguous()
        rule = ReferenceRule(fewest=5, most=12, confidence=0.2)
        regions = int(rng.integers(1, 15))
        kept = select_as_reference(scores, boxes, regions, caffe_overlap(0.3), rule)
        assert as_list(kept) == reference_by_loop(scores.numpy(), boxes.numpy(), regions, 0.3, rule), seed


def test_the_reference_choice_ranks_by_the_plain_score() -> None:
    """A box suppressed in its best class keeps a low confidence, and yet comes first by its plain class score."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [50, 50, 60, 60]])[:, None]
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.25], [0.5, 0.0]])
    rule = ReferenceRule(fewest=1, most=100, confidence=0.2)
    theirs = select_as_reference(scores, boxes, 2, caffe_overlap(0.3), rule)
    ours = select_regions(scores, boxes, 2, caffe_overlap(0.3), 0.0)
    assert theirs.rows.tolist() == [0, 1]
    assert ours.rows.tolist() == [0, 2]
    assert theirs.confidence.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("side", "iou"), [(6, 0.7), (2, 0.3), (4, 0.5)])
def test_an_overlap_that_reaches_the_limit(side: int, iou: float, dtype: type) -> None:
    """Pixels 0 to 9 and a part of their rows: the IoU is the limit, exactly."""
    whole, part = np.array([[0, 0, 9, 9]], dtype), np.array([[0, 0, side, 9]], dtype)
    assert caffe_overlap(iou).suppressed(whole, part).all()
    assert not Overlap(iou, pixel=1, inclusive=False).suppressed(whole, part).any()
    assert not caffe_overlap(iou).suppressed(whole, part - np.array([0, 0, 1, 0], dtype)).any()
    points = whole + np.array([0, 0, 1, 1], dtype), part + np.array([0, 0, 1, 1], dtype)
    assert not detectron2_overlap(iou).suppressed(*points).any()
    assert Overlap(iou, inclusive=True).suppressed(*points).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_suppression_equals_the_loop(convention: str) -> None:
    overlap, pixel, inclusive = CONVENTIONS[convention]
    for seed in range(100):
        _, boxes = random_case(seed, 40, 1, False, 2)
        corners = boxes[:, 0].numpy()
        kept: list[int] = []
        for i in range(len(corners)):
            found = [overlap_of(corners[i], corners[j], pixel) for j in kept]
            if not any(value >= 0.5 if inclusive else value > 0.5 for value in found):
                kept.append(i)
        for most in (0, 3, 100):
            assert suppress(corners, overlap(0.5), most).tolist() == kept[:most]


def test_boxes_without_area_suppress_nothing() -> None:
    points = np.full((3, 4), 5.0)
    assert suppress(points, detectron2_overlap(0.5), 10).tolist() == [0, 1, 2]
    assert suppress(points, caffe_overlap(0.5), 10).tolist() == [0]  # one pixel each, the same


def test_more_pairs_are_looked_at_until_enough_regions_survive() -> None:
    """One box holds all the high scores, so the first pairs give one region and the search must go on."""
    scores = torch.full((40, 500), 1e-6, dtype=torch.float64)
    scores[0] = 0.9
    scores[:, 0] += torch.linspace(0, 1e-3, 40)
    start = torch.arange(40, dtype=torch.float64)[:, None, None] * 10
    boxes = torch.cat([start, start, start + 5, start + 5], dim=-1)
    kept = select_regions(scores, boxes, 30, detectron2_overlap(0.5), 0.0)
    assert len(kept.rows) == 30
    assert len(set(kept.rows.tolist())) == 30
    assert kept.rows[0] == 0


@pytest.mark.parametrize("shape", [(0, 5), (4, 0)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    kept = select_regions(torch.zeros(shape), torch.zeros(shape[0], 1, 4), 30, detectron2_overlap(0.5), 0.0)
    assert len(kept.rows) == 0


def test_min_score() -> None:
    scores, boxes = torch.tensor([[0.9], [0.2]]), torch.tensor([[[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]])
    assert select_regions(scores, boxes, 30, detectron2_overlap(0.5), 0.2).rows.tolist() == [0]
