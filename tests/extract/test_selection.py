"""Selection equals the plain per-class loop, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from extract.selection import select_regions


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area if area else 0.0


def by_loop(scores: np.ndarray, boxes: np.ndarray, regions: int, iou: float) -> list[tuple[int, int, float]]:
    """Suppression class by class, box by box; then the best surviving class of every box."""
    best: dict[int, tuple[float, int]] = {}
    for label in range(scores.shape[1]):
        order = [i for i in np.argsort(-scores[:, label], kind="stable") if scores[i, label] > 0]
        kept: list[int] = []
        for i in order:
            corners = boxes[:, label if boxes.shape[1] > 1 else 0]
            if all(overlap(corners[i], corners[j]) <= iou for j in kept):
                kept.append(i)
        for i in kept:
            if i not in best or scores[i, label] > best[i][0]:
                best[i] = (float(scores[i, label]), label)
    ranked = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))
    return [(row, label, score) for row, (score, label) in ranked[:regions]]


def random_case(seed: int, n: int, c: int, per_class_boxes: bool, levels: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (n, c)) / levels  # few levels: many exact ties
    start = rng.integers(0, 40, (n, c if per_class_boxes else 1, 2)).astype(np.float64)
    boxes = np.concatenate([start, start + rng.integers(1, 30, start.shape)], axis=-1)
    return torch.from_numpy(scores), torch.from_numpy(boxes)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 25),
    c=st.integers(1, 12),
    per_class=st.booleans(),
    levels=st.sampled_from([3, 10, 1_000_000]),
    regions=st.integers(1, 12),
    iou=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_selection_equals_the_loop(
    seed: int, n: int, c: int, per_class: bool, levels: int, regions: int, iou: float
) -> None:
    scores, boxes = random_case(seed, n, c, per_class, levels)
    kept = select_regions(scores, boxes, regions, iou, 0.0)
    expected = by_loop(scores.numpy(), boxes.numpy(), regions, iou)
    got = list(zip(kept.rows.tolist(), kept.classes.tolist(), kept.confidence.tolist(), strict=True))
    assert got == expected


def test_more_pairs_are_looked_at_until_enough_regions_survive() -> None:
    """One box holds all the high scores, so the first pairs give one region and the search must go on."""
    scores = torch.full((40, 500), 1e-6, dtype=torch.float64)
    scores[0] = 0.9
    scores[:, 0] += torch.linspace(0, 1e-3, 40)
    start = torch.arange(40, dtype=torch.float64)[:, None, None] * 10
    boxes = torch.cat([start, start, start + 5, start + 5], dim=-1)
    kept = select_regions(scores, boxes, 30, 0.5, 0.0)
    assert len(kept.rows) == 30
    assert len(set(kept.rows.tolist())) == 30
    assert kept.rows[0] == 0


@pytest.mark.parametrize("shape", [(0, 5), (4, 0)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    kept = select_regions(torch.zeros(shape), torch.zeros(shape[0], 1, 4), 30, 0.5, 0.0)
    assert len(kept.rows) == 0


def test_min_score() -> None:
    scores, boxes = torch.tensor([[0.9], [0.2]]), torch.tensor([[[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]])
    assert select_regions(scores, boxes, 30, 0.5, 0.2).rows.tolist() == [0]
