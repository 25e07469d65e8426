"""The local similarity and loss in the form of the authors' code, which their checkpoints were trained with.

Letters: B videos (row i), C sentences (column j), N regions a video, L words a sentence, E joint width; in one
direction Q items of P queries each meet K items of M contexts each, and q, k, m are a tile's share of them. Padded
regions and words take part as queries here, so embeddings arrive unmasked, the masks beside them. Source: arXiv
2203.07720 and the behaviour of its published code, in our own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TILE_SCORES = 1 << 18  # scores of a tile; about ten tensors of that size live at once, which caches still hold
ATTENTION_FACTOR = 20.0
LOSS_FACTOR = 20.0
_SLOPE = 0.1
_NORM_EPS, _COSINE_EPS, _LABEL_EPS = 1e-8, 1e-8, 1e-6


def release_similarity(
    regions_BNE: Tensor,
    region_mask_BN: Tensor,
    words_CLE: Tensor,
    word_mask_CL: Tensor,
    focal: bool,
    tile_scores: int = TILE_SCORES,
) -> Tensor:
    """Local similarity ``S [B, C]``: regions that look for words, plus words that look for regions.

    In each direction: ``s = LeakyReLU_0.1(<c, q>)``, divided by its L2 norm over the queries (+ 1e-8); softmax over the
    real contexts of ``20 s``; with ``focal`` only what is above the mean of its row (over all M contexts, padded ones
    counted) stays, and the row is made to sum to 1 again; cosine of the query with the weighted context, its
    denominator at least 1e-8; mean over the queries, padded ones included. The width that regions and words are padded
    to is thus part of the result. The mask of a query moves all of its logits alike and is left out.

    An item whose contexts are all masked is attended to as if none were, and a row of which nothing is above its mean
    (all are equal) stays as it is. An item without contexts or queries (N or L of 0) has similarity 0. Computed in
    float32 at least, autocast or not, in tiles of at most ``tile_scores`` scores (at least one pair), which are made
    again in the backward pass; the weighted contexts are never made, only their norms from a Gram matrix per item.
    """
    regions_BNE, words_CLE = _wide(regions_BNE), _wide(words_CLE)
    to_words_CB = _Directed.apply(regions_BNE, words_CLE, word_mask_CL, focal, tile_scores)
    to_regions_BC = _Directed.apply(words_CLE, regions_BNE, region_mask_BN, focal, tile_scores)
    return to_words_CB.T + to_regions_BC


def release_loss(similarity_BB: Tensor) -> Tensor:
    """``mean_i Σ_j p_ij (log p_ij - log(δ_ij + 1e-6))`` with ``p = softmax_j(20 S_ij)``: rows (videos) only."""
    log_p_BB = (similarity_BB * LOSS_FACTOR).log_softmax(1)
    labels_BB = torch.eye(len(log_p_BB), dtype=log_p_BB.dtype, device=log_p_BB.device)
    return (log_p_BB.exp() * (log_p_BB - (labels_BB + _LABEL_EPS).log())).sum(1).mean()


class _Tile(NamedTuple):
    """Which contexts (rows of the result, and the longest of them in words) meet which queries (columns)."""

    contexts: Tensor
    width: int
    queries: slice


class _Directed(torch.autograd.Function):
    """One direction, ``[K, Q]``: every item's queries over every other item's contexts, tile after tile."""

    @staticmethod
    def forward(
        ctx: Any, queries_QPE: Tensor, contexts_KME: Tensor, mask_KM: Tensor, focal: bool, tile_scores: int
    ) -> Tensor:
        mask_KM = mask_KM | ~mask_KM.any(1, keepdim=True)
        ctx.save_for_backward(queries_QPE, contexts_KME, mask_KM)
        ctx.focal, ctx.tile_scores = focal, tile_scores
        found_KQ = queries_QPE.new_zeros(len(contexts_KME), len(queries_QPE))
        with torch.autocast(queries_QPE.device.type, enabled=False):
            for tile in _tiles(queries_QPE, mask_KM, tile_scores):
                contexts_kmE, mask_km = contexts_KME[tile.contexts, : tile.width], mask_KM[tile.contexts, : tile.width]
                found_kq = _attend(queries_QPE[tile.queries], contexts_kmE, mask_km, contexts_KME.shape[1], focal)
                found_KQ[tile.contexts, tile.queries] = found_kq
        return found_KQ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_KQ: Tensor) -> tuple[Tensor | None, ...]:
        queries_QPE, contexts_KME, mask_KM = ctx.saved_tensors
        grad_queries, grad_contexts = torch.zeros_like(queries_QPE), torch.zeros_like(contexts_KME)
        for tile in _tiles(queries_QPE, mask_KM, ctx.tile_scores):
            with torch.enable_grad(), torch.autocast(queries_QPE.device.type, enabled=False):
                queries_qPE = queries_QPE[tile.queries].detach().requires_grad_()
                contexts_kmE = contexts_KME[tile.contexts, : tile.width].detach().requires_grad_()
                mask_km = mask_KM[tile.contexts, : tile.width]
                found_kq = _attend(queries_qPE, contexts_kmE, mask_km, contexts_KME.shape[1], ctx.focal)
            grads = torch.autograd.grad(found_kq, (queries_qPE, contexts_kmE), grad_KQ[tile.contexts, tile.queries])
            grad_queries[tile.queries] += grads[0]
            grad_contexts[tile.contexts, : tile.width] += grads[1]
        return grad_queries, grad_contexts, None, None, None


def _attend(queries_qPE: Tensor, contexts_kmE: Tensor, mask_km: Tensor, M: int, focal: bool) -> Tensor:
    """Mean cosine ``[k, q]`` of the queries with what they find among the first m of M contexts, the rest masked."""
    (q, P, E), (k, m) = queries_qPE.shape, mask_km.shape
    scores_kmqP = (contexts_kmE.reshape(k * m, E) @ queries_qPE.reshape(q * P, E).T).view(k, m, q, P)
    slanted = F.leaky_relu(scores_kmqP, _SLOPE)
    slanted = slanted * (ATTENTION_FACTOR / (torch.linalg.vector_norm(slanted, dim=3, keepdim=True) + _NORM_EPS))
    attention_kmqP = slanted.masked_fill(~mask_km[:, :, None, None], -torch.inf).softmax(1)
    if focal:
        attention_kmqP = _above_mean(attention_kmqP, M)
    numerator_kqP = (attention_kmqP * scores_kmqP).sum(1)
    attention = attention_kmqP.view(k, m, q * P)
    gram_kmm = contexts_kmE @ contexts_kmE.transpose(1, 2)
    squared_kqP = (attention * (gram_kmm @ attention)).sum(1).view(k, q, P) * queries_qPE.square().sum(2)
    return (numerator_kqP / squared_kqP.clamp(min=_COSINE_EPS**2).sqrt()).mean(2)


def _above_mean(attention_kmqP: Tensor, M: int) -> Tensor:
    """What is above the mean of its row of M, summing to 1 again."""
    kept = attention_kmqP > attention_kmqP.sum(1, keepdim=True) / M
    kept = kept | ~kept.any(1, keepdim=True)
    attention_kmqP = attention_kmqP * kept
    return attention_kmqP / attention_kmqP.sum(1, keepdim=True)


def _tiles(queries_QPE: Tensor, mask_KM: Tensor, tile_scores: int) -> Iterator[_Tile]:
    """Items of similar width together: behind the last real context of a tile nothing is computed."""
    Q, P, _ = queries_QPE.shape
    K, M = mask_KM.shape
    if not (Q and P and K and M):
        return
    places = torch.arange(1, M + 1, device=mask_KM.device)
    widths, order = (mask_KM * places).amax(1).sort(stable=True)
    widths = widths.tolist()
    stop = K
    while stop > 0:  # from the widest down: the last of a tile is its widest
        width = widths[stop - 1]
        q = min(Q, max(1, tile_scores // (width * P)))
        k = min(stop, max(1, tile_scores // (width * P * q)))
        for start in range(0, Q, q):
            yield _Tile(order[stop - k : stop], width, slice(start, min(start + q, Q)))
        stop -= k


def _wide(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()
