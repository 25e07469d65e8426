"""The answer head against loops over questions and regions, and where there is nothing to look at."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from train.networks.answer_head import AnswerHead

B, N, E, H, A = 4, 5, 6, 8, 7


@pytest.fixture
def head() -> AnswerHead:
    torch.manual_seed(0)
    return AnswerHead(E, H, A, dropout=0.5).double().eval()


def case(clips: list[int], seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The second clip has no region."""
    rng = torch.Generator().manual_seed(seed)
    regions = torch.randn(B, N, E, generator=rng, dtype=torch.float64)
    mask = torch.rand(B, N, generator=rng) < 0.6
    mask[0, 0], mask[1] = True, False
    return regions, mask, torch.randn(len(clips), E, generator=rng, dtype=torch.float64), torch.tensor(clips)


def layer(linear: nn.Linear, x: Tensor) -> Tensor:
    """``W x + b`` with each row of W a length times a direction, number by number."""
    length, direction = (getattr(linear.parametrizations.weight, name) for name in ("original0", "original1"))
    rows = [
        sum(w * v for w, v in zip(row, x, strict=True)) * g / math.sqrt(sum(w * w for w in row))
        for row, g in zip(direction.tolist(), length.flatten().tolist(), strict=True)
    ]
    bias = linear.bias if linear.bias is not None else torch.zeros(len(rows), dtype=torch.float64)
    return torch.stack([torch.as_tensor(row) for row in rows]) + bias


def slow(head: AnswerHead, regions: Tensor, mask: Tensor, question: Tensor) -> Tensor:
    """One question about one clip, as the paper has it, with regions and question made sqrt(E) long."""
    question = question / question.norm() * E**0.5
    real = [region / region.norm() * E**0.5 for region, is_real in zip(regions, mask, strict=True) if is_real]
    found = torch.zeros(E, dtype=torch.float64)
    if real:
        wanted = layer(head.question_key, question).relu()
        scores = [layer(head.score, layer(head.region_key, region).relu() * wanted) for region in real]
        weights = torch.cat(scores).softmax(0)
        found = sum(weight * region for weight, region in zip(weights, real, strict=True))
    joint = layer(head.region, found).relu() * layer(head.question, question).relu()
    return layer(head.answer, layer(head.joint, joint).relu())


@pytest.mark.parametrize("clips", [[0, 1, 2, 3], [2, 0, 2, 2, 1], [3], [0, 0, 0]], ids=str)
def test_it_is_the_formula(head: AnswerHead, clips: list[int]) -> None:
    regions, mask, questions, clip_Q = case(clips)
    with torch.no_grad():
        logits = head(regions, mask, questions, clip_Q)
        expected = [slow(head, regions[clip], mask[clip], q) for clip, q in zip(clips, questions, strict=True)]
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, torch.stack(expected).float(), rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_and_masked_regions_have_none(head: AnswerHead) -> None:
    regions, mask, questions, clip_Q = case([0, 1, 1, 3])
    regions.requires_grad_()
    questions.requires_grad_()
    head.train()(regions, mask, questions, clip_Q).logsumexp(1).sum().backward()
    for tensor in (regions, questions, *head.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    assert not regions.grad[~mask].any() and not regions.grad[2].any(), "nobody asked about the third"
    assert regions.grad[0][mask[0]].any() and questions.grad.any()


def test_a_question_does_not_depend_on_the_others(head: AnswerHead) -> None:
    regions, mask, questions, clip_Q = case([2, 0, 2, 2, 1])
    with torch.no_grad():
        together = head(regions, mask, questions, clip_Q)
        for row in range(len(clip_Q)):
            alone = head(regions, mask, questions[row : row + 1], clip_Q[row : row + 1])
            torch.testing.assert_close(alone[0], together[row])


def test_half_precision_gives_float32_and_no_nan(head: AnswerHead) -> None:
    regions, mask, questions, clip_Q = case([0, 1, 2])
    narrow = head.float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = narrow(regions.float(), mask, questions.float(), clip_Q)
    assert logits.dtype == torch.float32 and logits.isfinite().all()
