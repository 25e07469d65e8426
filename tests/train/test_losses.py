"""The losses against loops that follow the formulas word for word, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.train.objective import obvious
from train.config import LossConfig
from train.losses import ContrastiveLoss, global_similarity, info_nce
from train.model import PairEmbedding, TextEmbedding, VideoEmbedding


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def pairs_of(clips: int = 4) -> PairEmbedding:
    """Video 1 has no region, sentence 2 no word."""
    torch.manual_seed(0)
    region_mask, word_mask = torch.rand(clips, 6) > 0.3, torch.rand(clips, 7) > 0.3
    region_mask[1], word_mask[2] = False, False
    leaves = (unit(clips, 8), unit(clips, 6, 8), unit(clips, 8), unit(clips, 7, 8), torch.tensor(0.05).double())
    cls, regions, sentences, words, temperature = (leaf.requires_grad_() for leaf in leaves)
    video = VideoEmbedding(cls, regions, region_mask)
    return PairEmbedding(video, TextEmbedding(sentences, words, word_mask), temperature)


def slow_nce(similarity: Tensor, temperature: Tensor) -> Tensor:
    exponents, total = torch.exp(similarity / temperature), torch.zeros((), dtype=similarity.dtype)
    for i in range(len(similarity)):
        total = total - torch.log(exponents[i, i] / exponents[i].sum()) / len(similarity)
        total = total - torch.log(exponents[i, i] / exponents[:, i].sum()) / len(similarity)
    return total


@pytest.mark.parametrize("form", ["slides", "release"])
def test_loss_and_all_gradients_equal_the_formula(form: str) -> None:
    config = LossConfig(local_form=form, global_weight=2.0, local_weight=3.0, sharpness=5.0)
    pairs = pairs_of()
    video, text = pairs.video, pairs.text
    leaves = (video.cls_BE, video.regions_BNE, text.cls_CE, text.words_CLE, pairs.temperature)
    embedded = (video.regions_BNE, video.mask_BN, text.words_CLE, text.mask_CL)
    global_similarities = video.cls_BE @ text.cls_CE.T
    if form == "slides":
        similarities = obvious.slides_similarity(*embedded, 5.0)
        local = slow_nce(similarities, pairs.temperature)
    else:
        similarities = obvious.release_similarity(*embedded, True)
        local = obvious.release_loss(similarities)
    expected = 2 * slow_nce(global_similarities, pairs.temperature) + 3 * local
    parts = ContrastiveLoss(config)(pairs)
    torch.testing.assert_close(parts.total, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(parts.similarity_BB, (global_similarities + similarities).detach())
    for ours, slow in zip(torch.autograd.grad(parts.total, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("form", ["slides", "release"])
def test_clips_with_nothing_in_them_give_finite_gradients(form: str) -> None:
    pairs = pairs_of()
    pairs.video.mask_BN[:], pairs.text.mask_CL[:] = False, False
    ContrastiveLoss(LossConfig(local_form=form))(pairs).total.backward()
    for leaf in (pairs.video.cls_BE, pairs.video.regions_BNE, pairs.text.cls_CE, pairs.text.words_CLE):
        assert leaf.grad.isfinite().all()


def test_as_many_sentences_as_videos() -> None:
    pairs, more = pairs_of(), pairs_of(clips=5)
    with pytest.raises(ValueError, match="4 videos with 5 sentences"):
        ContrastiveLoss(LossConfig())(PairEmbedding(pairs.video, more.text, pairs.temperature))


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
    pairs = pairs_of()
    video, text = pairs.video, pairs.text
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


def test_a_temperature_that_nothing_uses_is_not_learnt() -> None:
    with pytest.raises(ValueError, match="no temperature to learn"):
        LossConfig(global_weight=0, local_form="release", learn_temperature=True)
