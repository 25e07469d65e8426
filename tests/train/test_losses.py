"""The losses against loops that follow the formulas word for word, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from train.config import LossConfig
from train.losses import ContrastiveLoss, global_similarity, info_nce
from train.model import PairEmbedding, TextEmbedding, VideoEmbedding
from train.objective.region_word import region_word_similarity


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """4 videos, 5 sentences; video 1 has no region, sentence 2 no word."""
    torch.manual_seed(seed)
    region_mask, word_mask = torch.rand(4, 6) > 0.3, torch.rand(5, 7) > 0.3
    region_mask[0, 0] = word_mask[0, 0] = True
    region_mask[1], word_mask[2] = False, False
    return unit(4, 6, 8), region_mask, unit(5, 7, 8), word_mask


def slow_similarity(regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor, sharpness: float) -> Tensor:
    rows = []
    for video, real_regions in zip(regions, region_mask, strict=True):
        row = []
        for sentence, real_words in zip(words, word_mask, strict=True):
            found = []
            for region in video[real_regions]:
                scores = sentence[real_words] @ region
                if len(scores):
                    weights = torch.exp(sharpness * scores) / torch.exp(sharpness * scores).sum()
                    context = (weights[:, None] * sentence[real_words]).sum(0)
                    found.append(region @ context)
            row.append(torch.stack(found).mean() if found else torch.zeros((), dtype=regions.dtype))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("sharpness", [1.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_region_word_similarity_and_gradient_equal_the_loop(sharpness: float, seed: int) -> None:
    regions, region_mask, words, word_mask = example(seed)
    weight = torch.randn(4, 5, dtype=torch.float64)
    results = []
    for function in (region_word_similarity, slow_similarity):
        leaves = [regions.clone().requires_grad_(), words.clone().requires_grad_()]
        similarity = function(leaves[0], region_mask, leaves[1], word_mask, sharpness)
        (similarity * weight).sum().backward()
        results.append((similarity, leaves[0].grad, leaves[1].grad))
    for ours, slow in zip(*results, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-12)


def test_gradient_passes_the_numerical_check() -> None:
    regions, region_mask, words, word_mask = example()
    leaves = (regions.requires_grad_(), words.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda r, w: region_word_similarity(r, region_mask, w, word_mask, 5.0, tile_scores=1), leaves
    )


@pytest.mark.parametrize("tile_scores", [1, 24 * 7 * 2, 24 * 7 * 3, 10**9])
def test_the_size_of_a_tile_changes_nothing(tile_scores: int) -> None:
    regions, region_mask, words, word_mask = example()
    regions.requires_grad_(), words.requires_grad_()
    results = []
    for tile in (tile_scores, 24 * 7):
        similarity = region_word_similarity(regions, region_mask, words, word_mask, 20.0, tile)
        results.append((similarity, *torch.autograd.grad(similarity.square().sum(), (regions, words))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_masked_regions_and_words_change_nothing() -> None:
    regions, region_mask, words, word_mask = example()
    before = region_word_similarity(regions, region_mask, words, word_mask, 20.0)
    regions[~region_mask], words[~word_mask] = 7.0, -3.0
    torch.testing.assert_close(region_word_similarity(regions, region_mask, words, word_mask, 20.0), before)


def test_nothing_to_compare_gives_zero_and_finite_gradients() -> None:
    regions, _, words, _ = example()
    regions, words = regions.float().requires_grad_(), words.float().requires_grad_()
    none_regions, none_words = torch.zeros(4, 6, dtype=torch.bool), torch.zeros(5, 7, dtype=torch.bool)
    similarity = region_word_similarity(regions, none_regions, words, none_words, 20.0)
    similarity.sum().backward()
    assert (similarity == 0).all() and (regions.grad == 0).all() and (words.grad == 0).all()
    assert region_word_similarity(regions, none_regions, words[:0], none_words[:0], 20.0).shape == (4, 0)
    assert region_word_similarity(regions, none_regions, words[:, :0], none_words[:, :0], 20.0).shape == (4, 5)


def test_info_nce_equals_the_formula() -> None:
    torch.manual_seed(0)
    similarity, temperature = torch.randn(5, 5, dtype=torch.float64), 0.05
    exponents = torch.exp(similarity / temperature)
    expected = 0.0
    for i in range(5):
        expected -= math.log(exponents[i, i] / exponents[i].sum()) / 5
        expected -= math.log(exponents[i, i] / exponents[:, i].sum()) / 5
    assert info_nce(similarity, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_a_part_is_switched_off_by_weight_zero() -> None:
    regions, region_mask, words, word_mask = example()
    video = VideoEmbedding(unit(4, 8).requires_grad_(), regions.requires_grad_(), region_mask)
    text = TextEmbedding(unit(4, 8), words[:4], word_mask[:4])
    pairs = PairEmbedding(video, text, torch.tensor(0.05))
    both, only_global, only_local = (
        ContrastiveLoss(LossConfig(global_weight=g, local_weight=w))(pairs) for g, w in ((2, 3), (2, 0), (0, 3))
    )
    assert both.total.item() == pytest.approx(2 * both.global_.item() + 3 * both.local.item())
    assert only_global.total.item() == pytest.approx(2 * both.global_.item()) and only_global.local == 0
    assert only_local.total.item() == pytest.approx(3 * both.local.item()) and only_local.global_ == 0
    only_local.total.backward()
    assert video.cls_BE.grad is None and video.regions_BNE.grad is not None
    torch.testing.assert_close(only_global.similarity_BB, global_similarity(video.cls_BE, text.cls_CE).detach())


def test_both_weights_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing would be learnt"):
        LossConfig(global_weight=0, local_weight=0)
