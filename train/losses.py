"""Similarities and contrastive losses.

Letters: B videos (row i), C sentences (column j), N regions a video, L words a sentence, E joint width; c is a tile of
sentences. All embeddings are L2-normalised. Source: arXiv 2203.07720, in the form of its slides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from train.config import LossConfig
from train.model import PairEmbedding

TILE_SCORES = 1 << 23  # scores held at once, 32 MiB in float32


@dataclass(frozen=True, eq=False)
class LossParts:
    """Scalars ``total = global_weight * global_ + local_weight * local``; a part that is switched off is 0.

    similarity_BB: the sum of the similarities in use, without gradient, for recall within the batch.
    """

    total: Tensor
    global_: Tensor
    local: Tensor
    similarity_BB: Tensor


class ContrastiveLoss:
    """InfoNCE over the global and the region-word similarity of a batch of matching pairs."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, pairs: PairEmbedding) -> LossParts:
        """Loss of B videos and their B sentences, row i belonging to column i."""
        config, video, text = self.config, pairs.video, pairs.text
        zero = video.cls_BE.new_zeros(())
        global_, local, similarity = zero, zero, video.cls_BE.new_zeros(len(video.cls_BE), len(text.cls_CE))
        if config.global_weight:
            scores = global_similarity(video.cls_BE, text.cls_CE)
            global_, similarity = info_nce(scores, pairs.temperature), similarity + scores.detach()
        if config.local_weight:
            scores = region_word_similarity(
                video.regions_BNE, video.mask_BN, text.words_CLE, text.mask_CL, config.sharpness
            )
            local, similarity = info_nce(scores, pairs.temperature), similarity + scores.detach()
        total = config.global_weight * global_ + config.local_weight * local
        return LossParts(total, global_, local, similarity)


def info_nce(similarity_BB: Tensor, temperature: Tensor | float) -> Tensor:
    """``L_v2l + L_l2v``: cross-entropy of the diagonal of ``similarity / temperature``, over rows plus over columns."""
    logits = similarity_BB / temperature
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def global_similarity(cls_BE: Tensor, cls_CE: Tensor) -> Tensor:
    """Cosine ``G [B, C]`` of each video's [CLS] with each sentence's [CLS]."""
    return cls_BE @ cls_CE.T


def region_word_similarity(
    regions_BNE: Tensor,
    region_mask_BN: Tensor,
    words_CLE: Tensor,
    word_mask_CL: Tensor,
    sharpness: float,
    tile_scores: int = TILE_SCORES,
) -> Tensor:
    """Local similarity ``S [B, C]``: each region attends over a sentence's words and is compared with what it finds.

    ``a_nl = softmax_l(sharpness * <r_n, t_l>)`` over real words, ``S = mean_n Σ_l a_nl <r_n, t_l>`` over real regions,
    which equals ``mean_n <r_n, c_n>`` with ``c_n = Σ_l a_nl t_l``. A video without regions or a sentence without words
    has similarity 0 and no gradient. Sentences are taken in tiles of at most ``tile_scores`` scores (at least one
    sentence), in the backward pass too, so memory does not grow with B * C.
    """
    return _RegionWord.apply(regions_BNE, region_mask_BN, words_CLE, word_mask_CL, sharpness, tile_scores)


class _RegionWord(torch.autograd.Function):
    """Scores are computed a tile at a time and again in the backward pass; none are kept between the two."""

    @staticmethod
    def forward(
        ctx: Any, regions_BNE: Tensor, region_mask_BN: Tensor, words_CLE: Tensor, word_mask_CL: Tensor,
        sharpness: float, tile_scores: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(regions_BNE, region_mask_BN, words_CLE, word_mask_CL)
        ctx.sharpness, ctx.tile = sharpness, _sentences_a_tile(regions_BNE, words_CLE, tile_scores)
        weight_BN = _mean_weights(region_mask_BN, regions_BNE.dtype)
        columns = [regions_BNE.new_zeros(len(regions_BNE), 0)]
        for words_cLE, mask_cL in zip(words_CLE.split(ctx.tile), word_mask_CL.split(ctx.tile), strict=True):
            scores_BNcL, attention_BNcL = _attend(regions_BNE, words_cLE, mask_cL, sharpness)
            columns.append(torch.einsum("bnc,bn->bc", (attention_BNcL * scores_BNcL).sum(-1), weight_BN))
        return torch.cat(columns, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BC: Tensor) -> tuple[Tensor | None, ...]:
        regions_BNE, region_mask_BN, words_CLE, word_mask_CL = ctx.saved_tensors
        B, N, E = regions_BNE.shape
        weight_BN = _mean_weights(region_mask_BN, regions_BNE.dtype)
        grad_regions = torch.zeros_like(regions_BNE).view(B * N, E)
        grad_words = []
        tiles = (words_CLE.split(ctx.tile), word_mask_CL.split(ctx.tile), grad_BC.split(ctx.tile, dim=1))
        for words_cLE, mask_cL, grad_Bc in zip(*tiles, strict=True):
            scores_BNcL, attention_BNcL = _attend(regions_BNE, words_cLE, mask_cL, ctx.sharpness)
            mean_BNc1 = (attention_BNcL * scores_BNcL).sum(-1, keepdim=True)
            # d(Σ_l a_l s_l)/ds_l = a_l (1 + sharpness (s_l - Σ_k a_k s_k))
            slope_BNcL = scores_BNcL.sub_(mean_BNc1).mul_(ctx.sharpness).add_(1).mul_(attention_BNcL)
            slope_BNcL *= (weight_BN[:, :, None] * grad_Bc[:, None, :])[..., None]
            slope = slope_BNcL.view(B * N, -1)
            grad_regions += slope @ words_cLE.reshape(-1, E)
            grad_words.append((slope.T @ regions_BNE.reshape(B * N, E)).view_as(words_cLE))
        grad_words_CLE = torch.cat(grad_words) if grad_words else torch.zeros_like(words_CLE)
        return grad_regions.view(B, N, E), None, grad_words_CLE, None, None, None


def _sentences_a_tile(regions_BNE: Tensor, words_CLE: Tensor, tile_scores: int) -> int:
    scores_a_sentence = max(1, regions_BNE.shape[0] * regions_BNE.shape[1] * words_CLE.shape[1])
    return max(1, tile_scores // scores_a_sentence)


def _mean_weights(region_mask_BN: Tensor, dtype: torch.dtype) -> Tensor:
    weights = region_mask_BN.to(dtype)
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


def _attend(regions_BNE: Tensor, words_cLE: Tensor, mask_cL: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    B, N, E = regions_BNE.shape
    scores = regions_BNE.reshape(B * N, E) @ words_cLE.reshape(-1, E).T
    scores_BNcL = scores.view(B, N, *mask_cL.shape)
    logits = (scores_BNcL * sharpness).masked_fill_(~mask_cL, torch.finfo(scores.dtype).min)
    attention = logits.softmax(-1) * mask_cL  # the product clears sentences without words
    return scores_BNcL, attention
