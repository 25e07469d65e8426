"""The region-word similarity (slides' form) of many videos and sentences where nothing is learnt: scores alone.

Letters: B videos, C sentences, N regions a video, E joint width; b, c, t, w are the videos, sentences, real regions and
real words of a tile, k the sentences of equal length L in it. Source: arXiv 2203.07720.

``train.objective.region_word`` gives the same numbers, and what a backward pass needs besides. Here sentences are
their real words alone, one after the other, so nothing is padded or masked; and as scores are cosines, a softmax over
them needs no maximum: one product, one exponential, one multiplication and two sums a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from train.objective.precision import full_precision, widened

TILE_SCORES = {"cpu": 1 << 19, "cuda": 1 << 24}  # of a tile; two tensors of that size (2 MiB, 64 MiB) live at once
_STEEPEST = 70.0  # 70 exp(70) is 2e32 and exp(-70) 4e-31: sums of a million such stay within float32


class _Videos(NamedTuple):
    """A tile's videos and their real regions. share_tb: 1 / (regions of the video), 0 for those of others."""

    columns: slice
    regions_tE: Tensor
    share_tb: Tensor


@dataclass(frozen=True, eq=False)
class RegionTiles:
    """The real regions of some videos on the device, cut into tiles; for any number of sentences."""

    tiles: tuple[_Videos, ...]
    videos: int
    tile_scores: int
    like: Tensor

    @classmethod
    def of(
        cls, regions_BNE: Tensor, mask_BN: Tensor, device: torch.device | str = "cpu", tile_scores: int | None = None
    ) -> RegionTiles:
        """Copies the real regions to the device, in float32 at least.

        A tile will have at most ``tile_scores`` scores (None: by device), but at least one sentence with one video.
        """
        real_TE = widened(regions_BNE[mask_BN].to(device))
        tile_scores = tile_scores or TILE_SCORES.get(real_TE.device.type, TILE_SCORES["cuda"])
        tiles = _cut_videos(real_TE, mask_BN.sum(1).tolist(), math.isqrt(tile_scores))
        return cls(tuple(tiles), len(mask_BN), tile_scores, real_TE.new_empty(0))


class _Sentences(NamedTuple):
    """A tile's sentences by their places among the sorted ones, their words (times the sharpness), and each run of
    equal length as (places in the tile, places of its words, length)."""

    places: slice
    words_wE: Tensor
    runs: list[tuple[slice, slice, int]]


@torch.inference_mode()
def region_word_scores(regions: RegionTiles, words: Sequence[Tensor], sharpness: float) -> Tensor:
    """Local similarity ``S [C, B]`` of B videos with the C sentences whose real words [L_c, E] are in ``words``.

    ``a_nl = softmax_l(sharpness * <r_n, t_l>)``, ``S = mean_n Σ_l a_nl <r_n, t_l>`` over real regions; all vectors are
    L2-normalised. A video without regions or a sentence without words has similarity 0. How tiles are cut depends on
    what is given and on nothing else; the result does not depend on it beyond rounding.
    """
    order = sorted(range(len(words)), key=lambda row: len(words[row]))
    widest = max((len(tile.regions_tE) for tile in regions.tiles), default=0)
    sentences = list(_cut_sentences([words[row] for row in order], regions.tile_scores // max(widest, 1)))
    most = widest * max((len(tile.words_wE) for tile in sentences), default=0)
    work = tuple(regions.like.new_empty(most) for _ in range(2))
    attend = _attend if sharpness <= _STEEPEST else _attend_steeply
    found_CB = regions.like.new_zeros(len(words), regions.videos)
    with full_precision(regions.like):
        for tile in sentences:
            tile = tile._replace(words_wE=tile.words_wE.to(regions.like) * sharpness)
            for videos in regions.tiles:
                found_CB[tile.places, videos.columns] = attend(tile, videos.regions_tE, *work) @ videos.share_tb
    return found_CB[torch.tensor(order, device=found_CB.device).argsort()].div_(sharpness)


def _attend(sentences: _Sentences, regions_tE: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """``sharpness * Σ_l a_nl <r_n, t_l>`` for each sentence and region [c, t]; two tiles of memory are given."""
    w, t = len(sentences.words_wE), len(regions_tE)
    scores_wt = torch.mm(sentences.words_wE, regions_tE.T, out=scores[: w * t].view(w, t))
    weights_wt = torch.exp(scores_wt, out=weights[: w * t].view(w, t))
    return _mean(sentences, scores_wt, weights_wt)


def _attend_steeply(sentences: _Sentences, regions_tE: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """The same for a sharpness of any size: the highest score of each sentence and region is taken off first."""
    w, t = len(sentences.words_wE), len(regions_tE)
    scores_wt = torch.mm(sentences.words_wE, regions_tE.T, out=scores[: w * t].view(w, t))
    top_ct = _reduced(torch.amax, sentences, scores_wt)
    for places, of_words, length in sentences.runs:
        scores_wt[of_words].view(-1, length, t).sub_(top_ct[places, None])
    weights_wt = torch.exp(scores_wt, out=weights[: w * t].view(w, t))
    return _mean(sentences, scores_wt, weights_wt).add_(top_ct)


def _mean(sentences: _Sentences, scores_wt: Tensor, weights_wt: Tensor) -> Tensor:
    """Weighted mean of the scores over the words of each sentence [c, t]; overwrites the scores."""
    totals_ct = _reduced(torch.sum, sentences, weights_wt)
    return _reduced(torch.sum, sentences, scores_wt.mul_(weights_wt)).div_(totals_ct)


def _reduced(reduction: Callable[..., Tensor], sentences: _Sentences, values_wt: Tensor) -> Tensor:
    """A reduction over the words of each sentence [c, t]; it runs along rows, so it goes many regions at a time."""
    t = values_wt.shape[1]
    found_ct = values_wt.new_empty(sentences.places.stop - sentences.places.start, t)
    for places, of_words, length in sentences.runs:
        reduction(values_wt[of_words].view(-1, length, t), 1, out=found_ct[places])
    return found_ct


def _cut_videos(real_TE: Tensor, counts: Sequence[int], most: int) -> Iterator[_Videos]:
    """Runs of videos of at most ``most`` regions together, at least one video; none without regions."""
    start, at, held = 0, 0, 0
    for column, count in enumerate([*counts, most + 1]):
        if column > start and held + count > most:
            if held:
                share_tb = _shares(counts[start:column]).to(real_TE)
                yield _Videos(slice(start, column), real_TE[at : at + held], share_tb)
            start, at, held = column, at + held, 0
        held += count


def _shares(counts: Sequence[int]) -> Tensor:
    counts_b = torch.tensor(counts)
    owner_t = torch.arange(len(counts)).repeat_interleave(counts_b)
    return torch.diag(1 / counts_b.clamp(min=1).double())[owner_t]


def _cut_sentences(words: Sequence[Tensor], most: int) -> Iterator[_Sentences]:
    """Runs of sentences, shortest first, of at most ``most`` words together, at least one; none without words."""
    lengths = [len(words_LE) for words_LE in words]
    start = lengths.count(0)
    held = 0
    for stop, length in enumerate([*lengths[start:], most + 1], start):
        if stop > start and held + length > most:
            yield _Sentences(slice(start, stop), torch.cat(list(words[start:stop])), _runs(lengths[start:stop]))
            start, held = stop, 0
        held += length


def _runs(lengths: Sequence[int]) -> list[tuple[slice, slice, int]]:
    runs, place, word = [], 0, 0
    for length, same in groupby(lengths):
        k = len(list(same))
        runs.append((slice(place, place + k), slice(word, word + k * length), length))
        place, word = place + k, word + k * length
    return runs
