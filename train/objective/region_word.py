"""The region-word similarity in the form of the slides, fused.

Letters: B videos (row i), C sentences (column j), N regions a video, L words a sentence, E joint width; T real regions
of all videos; c, w, b, t are a tile's share of sentences, words, videos and regions. Source: arXiv 2203.07720.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from train.objective.precision import full_precision, widened

TILE_SCORES = {"cpu": 1 << 18, "cuda": 1 << 24}  # of a tile, 1 MiB where caches are small, 64 MiB where launches cost
KEPT_SCORES = 1 << 24  # up to so many (64 MiB) are kept for the backward pass; where there are more, none are


def region_word_similarity(
    regions_BNE: Tensor,
    region_mask_BN: Tensor,
    words_CLE: Tensor,
    word_mask_CL: Tensor,
    sharpness: float,
    tile_scores: int | None = None,
    kept_scores: int = KEPT_SCORES,
) -> Tensor:
    """Local similarity ``S [B, C]``: each region attends over a sentence's words and is compared with what it finds.

    ``a_nl = softmax_l(sharpness * <r_n, t_l>)`` over real words, ``S = mean_n Σ_l a_nl <r_n, t_l>`` over real regions,
    which equals ``mean_n <r_n, c_n>`` with ``c_n = Σ_l a_nl t_l``. A video without regions or a sentence without words
    has similarity 0 and no gradient. Nothing is computed for padded regions, nor for words behind the last real one of
    a tile, which holds sentences of similar length. A tile has at most ``tile_scores`` scores (at least one sentence
    with one video; None: by device), in the backward pass too, so memory does not grow with B * C beyond S itself and
    at most ``kept_scores`` kept slopes. The result depends on neither beyond rounding. float32 at least, autocast or
    not.
    """
    regions_BNE, words_CLE = widened(regions_BNE), widened(words_CLE)
    tile = tile_scores or TILE_SCORES.get(regions_BNE.device.type, TILE_SCORES["cuda"])
    return _RegionWord.apply(regions_BNE, region_mask_BN, words_CLE, word_mask_CL, sharpness, tile, kept_scores)


class _Sentences(NamedTuple):
    """Sentences of one tile: places among the sorted ones, row numbers, padded width, whether all are that wide."""

    places: slice
    rows: Tensor
    width: int
    is_full: bool


class _Videos(NamedTuple):
    """Videos of one tile, its real regions among all T, and ``weight_tb``: 1 / (regions of the video) or 0."""

    columns: slice
    regions: slice
    weight_tb: Tensor


class _Plan:
    """How B videos and C sentences are cut into tiles."""

    def __init__(self, region_mask_BN: Tensor, word_mask_CL: Tensor, dtype: torch.dtype, tile_scores: int) -> None:
        L = word_mask_CL.shape[1]
        places_L = torch.arange(1, L + 1, device=word_mask_CL.device)
        widths_C = (word_mask_CL * places_L).amax(1) if L else word_mask_CL.sum(1)
        widths_C, self.order_C = widths_C.sort(stable=True)
        self.widths, self.words = torch.stack([widths_C, word_mask_CL.sum(1)[self.order_C]]).tolist()
        self.region_mask_BN, self.dtype = region_mask_BN, dtype
        self.counts = region_mask_BN.sum(1).tolist()
        self.num_scores = sum(self.widths) * sum(self.counts)
        widest = max(self.widths, default=0)
        self.videos = list(self._cut_videos(min(2 * math.isqrt(tile_scores), tile_scores // max(widest, 1))))
        most = max((tile.regions.stop - tile.regions.start for tile in self.videos), default=0)
        self.sentences = list(self._cut_sentences(tile_scores // max(most, 1)))
        self.tile_scores = max((s.width * (s.places.stop - s.places.start) for s in self.sentences), default=0) * most

    def _cut_videos(self, most: int) -> Iterator[_Videos]:
        """Runs of videos of at most ``most`` regions together, at least one video."""
        start, at, regions = 0, 0, 0
        for row, count in enumerate([*self.counts, most + 1]):
            if row > start and regions + count > most:
                if regions:
                    yield self._run(slice(start, row), slice(at, at + regions))
                start, at, regions = row, at + regions, 0
            regions += count

    def _run(self, columns: slice, regions: slice) -> _Videos:
        mask_bN = self.region_mask_BN[columns]
        owner_t = mask_bN.nonzero()[:, 0]
        share_b = 1 / mask_bN.sum(1).clamp(min=1).to(self.dtype)
        return _Videos(columns, regions, torch.diag(share_b)[owner_t])

    def _cut_sentences(self, most: int) -> Iterator[_Sentences]:
        """Runs of sentences of at most ``most`` words together, at least one sentence; none without words."""
        start = sum(width == 0 for width in self.widths)
        for stop in range(start + 1, len(self.widths) + 1):
            is_last = stop == len(self.widths)
            if is_last or self.widths[stop] * (stop + 1 - start) > most:
                width = self.widths[stop - 1]
                places = slice(start, stop)
                yield _Sentences(places, self.order_C[places], width, min(self.words[places]) == width)
                start = stop


class _RegionWord(torch.autograd.Function):
    """Keeps the slopes ``d(Σ_l a_l s_l) / ds`` of all tiles where they are few, else makes them again."""

    @staticmethod
    def forward(
        ctx: Any, regions_BNE: Tensor, region_mask_BN: Tensor, words_CLE: Tensor, word_mask_CL: Tensor,
        sharpness: float, tile_scores: int, kept_scores: int,
    ) -> Tensor:  # fmt: skip
        plan = _Plan(region_mask_BN, word_mask_CL, regions_BNE.dtype, tile_scores)
        keeps = any(ctx.needs_input_grad) and plan.num_scores <= kept_scores
        ctx.save_for_backward(regions_BNE, region_mask_BN, words_CLE, word_mask_CL)
        ctx.plan, ctx.sharpness, ctx.slopes = plan, sharpness, [] if keeps else None
        found_CB = regions_BNE.new_zeros(len(words_CLE), len(regions_BNE))
        regions_TE, work = regions_BNE[region_mask_BN], _Workspace(plan.tile_scores, regions_BNE)
        with full_precision(regions_BNE):
            for sentences in plan.sentences:
                words_cwE, mask_cw = _taken(sentences, words_CLE, word_mask_CL)
                for videos in plan.videos:
                    attention, product, mean_ct = work.attend(regions_TE[videos.regions], words_cwE, mask_cw, sharpness)
                    found_CB[sentences.places, videos.columns] = mean_ct @ videos.weight_tb
                    if keeps:
                        ctx.slopes.append(_slope(attention, product, mean_ct, sharpness).clone())
        unsorted_CB = torch.empty_like(found_CB)
        unsorted_CB[plan.order_C] = found_CB
        return unsorted_CB.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BC: Tensor) -> tuple[Tensor | None, ...]:
        regions_BNE, region_mask_BN, words_CLE, word_mask_CL = ctx.saved_tensors
        plan, kept = ctx.plan, iter(ctx.slopes or ())
        regions_TE, work = regions_BNE[region_mask_BN], _Workspace(plan.tile_scores, regions_BNE)
        grad_TE, grad_words_CLE = torch.zeros_like(regions_TE), torch.zeros_like(words_CLE)
        with full_precision(regions_BNE):
            for sentences in plan.sentences:
                words_cwE, mask_cw = _taken(sentences, words_CLE, word_mask_CL)
                words, grad_words = words_cwE.flatten(0, 1), torch.zeros_like(words_cwE).flatten(0, 1)
                grad_cB = grad_BC[:, sentences.rows].T
                for videos in plan.videos:
                    regions_tE = regions_TE[videos.regions]
                    slope_cwt = next(kept, None)
                    if slope_cwt is None:
                        slope_cwt = _slope(*work.attend(regions_tE, words_cwE, mask_cw, ctx.sharpness), ctx.sharpness)
                    grad_ct = grad_cB[:, videos.columns] @ videos.weight_tb.T
                    slope = work.scaled(slope_cwt, grad_ct).flatten(0, 1)
                    grad_TE[videos.regions].addmm_(slope.T, words)
                    grad_words.addmm_(slope, regions_tE)
                grad_words_CLE[sentences.rows, : sentences.width] = grad_words.view_as(words_cwE)
        grad_regions_BNE = torch.zeros_like(regions_BNE)
        grad_regions_BNE[region_mask_BN] = grad_TE
        return grad_regions_BNE, None, grad_words_CLE, None, None, None, None


class _Workspace:
    """Three tiles of memory, used again for every tile."""

    def __init__(self, tile_scores: int, like: Tensor) -> None:
        self.scores, self.attention, self.product = (like.new_empty(tile_scores) for _ in range(3))

    def attend(
        self, regions_tE: Tensor, words_cwE: Tensor, mask_cw: Tensor | None, sharpness: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attention and its product with the scores, both [c, w, t], and that product's sum over the words [c, t]."""
        (c, w, _), t = words_cwE.shape, len(regions_tE)
        scores = torch.mm(words_cwE.flatten(0, 1), regions_tE.T, out=self.scores[: c * w * t].view(c * w, t))
        scores_cwt = scores.view(c, w, t)
        attention, product = (tile[: c * w * t].view(c, w, t) for tile in (self.attention, self.product))
        torch.mul(scores_cwt, sharpness, out=product)
        if mask_cw is not None:
            product.masked_fill_(~mask_cw[:, :, None], -torch.inf)
        torch.softmax(product, 1, out=attention)
        torch.mul(attention, scores_cwt, out=product)
        return attention, product, product.sum(1)

    def scaled(self, slope_cwt: Tensor, grad_ct: Tensor) -> Tensor:
        """``slope * grad``, in place of the scores."""
        return torch.mul(slope_cwt, grad_ct[:, None], out=self.scores[: slope_cwt.numel()].view(slope_cwt.shape))


def _slope(attention_cwt: Tensor, product_cwt: Tensor, mean_ct: Tensor, sharpness: float) -> Tensor:
    """``a (1 + sharpness (s - Σ a s))``, in place of the product ``a s``."""
    return product_cwt.mul_(sharpness).addcmul_(attention_cwt, (1 - sharpness * mean_ct)[:, None])


def _taken(sentences: _Sentences, words_CLE: Tensor, word_mask_CL: Tensor) -> tuple[Tensor, Tensor | None]:
    """Words [c, w, E] of a tile, and their mask where some are padded."""
    words_cwE = words_CLE[sentences.rows, : sentences.width]
    return words_cwE, None if sentences.is_full else word_mask_CL[sentences.rows, : sentences.width]
