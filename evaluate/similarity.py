"""The score of every sentence with every video: global cosine plus region-word similarity, in blocks of fixed size.

Letters: B videos, U distinct sentences, K sentences of one video, N regions a video, E joint width; b and u are the
videos and sentences of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluate.embed import TextTable, VideoTable
from evaluate.region_word_scores import RegionTiles, region_word_scores
from train.config import LossConfig
from train.losses import global_similarity
from train.objective.release_form import release_similarity

SENTENCE_BLOCK = 64
VIDEO_BLOCK = 128  # of which the regions are in memory at once: 31 MB for 8 frames of 30
_ROWS_CHECKED = 4096  # at once

LocalScores = Callable[[Sequence[int]], Tensor]  # rows of sentences -> their local similarity [u, b] with some videos


@dataclass(frozen=True, eq=False)
class Scores:
    """The similarities that a model was trained with, float32 [U, B] on the CPU; None: this one was not trained."""

    global_UB: Tensor | None
    local_UB: Tensor | None

    @property
    def combined_UB(self) -> Tensor:  # noqa: N802, a tensor's letters
        """Their sum, which retrieval ranks by; made anew by each call where there are two."""
        parts = self.parts
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Those that there are."""
        return tuple(part for part in (self.global_UB, self.local_UB) if part is not None)


@torch.inference_mode()
def score_matrix(
    videos: VideoTable,
    texts: TextTable,
    loss: LossConfig,
    *,
    device: torch.device | str = "cpu",
    tile_scores: int | None = None,
    sentences: slice = slice(None),
) -> Scores:
    """Scores of the distinct sentences (all, or the rows ``sentences``) with all videos.

    A similarity whose weight in ``loss`` is 0 was not trained and is left out; the local one is in the form that
    ``loss`` says. ``tile_scores`` bounds the region-word scores held at once (None: by device); the result does not
    depend on it beyond rounding. Sentences and videos are scored in blocks that start at multiples of
    ``SENTENCE_BLOCK`` and ``VIDEO_BLOCK``, whatever was asked for, so slices have the very bits of the whole (with as
    many threads: products round by how they are shared among them); a block that a slice cuts is scored whole. The
    regions of each video are read once, a block of videos at a time.

    Raises:
        ValueError: a score is not a finite number (a model that diverged), the sentences come from a model of another
            form, or the slice has a step.
    """
    U, B = len(texts.cls_UE), len(videos.ids)
    start, stop, step = sentences.indices(U)
    if step != 1:
        raise ValueError(f"sentences {sentences} are not consecutive")
    first = start - start % SENTENCE_BLOCK
    rows = [range(u, min(u + SENTENCE_BLOCK, U)) for u in range(first, stop, SENTENCE_BLOCK)]
    count = rows[-1].stop - first if rows else 0
    global_UB = torch.empty(count, B) if loss.global_weight else None
    local_UB = torch.empty(count, B) if loss.local_weight else None
    for columns in _video_blocks(B):
        if local_UB is not None:
            regions_bNE, mask_bN = videos.regions_BNE[columns], videos.mask_BN[columns]
            local = _local_scores(regions_bNE, mask_bN, texts, loss, device, tile_scores)
        for block in rows:
            place = slice(block.start - first, block.stop - first)
            if global_UB is not None:
                cls_uE = texts.cls_UE[block.start : block.stop]
                global_UB[place, columns] = global_similarity(videos.cls_BE[columns], cls_uE).T
            if local_UB is not None:
                local_UB[place, columns] = local(block).float().cpu()
    wanted = slice(start - first, max(start, stop) - first)
    return _finite(Scores(*(None if part is None else part[wanted] for part in (global_UB, local_UB))))


@torch.inference_mode()
def score_pairs(
    cls_E: Tensor,
    regions_NE: Tensor,
    mask_N: Tensor,
    texts: TextTable,
    rows: Sequence[int],
    loss: LossConfig,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Combined scores [K] of one video with the K sentences at these rows of ``texts``, float32 on the CPU.

    They equal those of ``score_matrix`` but for rounding.

    Raises:
        ValueError: as there.
    """
    rows = list(rows)
    global_KB = global_similarity(cls_E[None], texts.cls_UE[rows]).T if loss.global_weight else None
    local_KB = None
    if loss.local_weight:
        local_KB = _local_scores(regions_NE[None], mask_N[None], texts, loss, device, None)(rows).float().cpu()
    return _finite(Scores(global_KB, local_KB)).combined_UB[:, 0]


def score_parts(loss: LossConfig) -> str:
    """The score in words, for results and pages."""
    form = f"sharpness {loss.sharpness:g}"
    if loss.local_form == "release":
        form = "release form, focal" if loss.focal else "release form"
    parts = (("global cosine", loss.global_weight), (f"region-word similarity ({form})", loss.local_weight))
    return " + ".join(name for name, weight in parts if weight)


def _local_scores(
    regions_bNE: Tensor,
    mask_bN: Tensor,
    texts: TextTable,
    loss: LossConfig,
    device: torch.device | str,
    tile_scores: int | None,
) -> LocalScores:
    """The local similarity of some videos, which are taken to the device once, with any sentences."""
    if loss.local_form == "slides":
        tiles = RegionTiles.of(regions_bNE, mask_bN, device, tile_scores)
        return lambda rows: region_word_scores(tiles, [texts.words[row] for row in rows], loss.sharpness)
    padded_ULE, mask_UL = texts.padded_ULE, texts.mask_UL
    if padded_ULE is None or mask_UL is None:
        raise ValueError("the release form scores padded sentences, these come from a model of another form")
    regions_bNE, mask_bN = regions_bNE.to(device), mask_bN.to(device)

    def release(rows: Sequence[int]) -> Tensor:
        words_uLE, mask_uL = (table[list(rows)].to(device) for table in (padded_ULE, mask_UL))
        return release_similarity(regions_bNE, mask_bN, words_uLE, mask_uL, loss.focal, tile_scores).T

    return release


def _video_blocks(videos: int) -> Iterator[slice]:
    for start in range(0, videos, VIDEO_BLOCK):
        yield slice(start, min(start + VIDEO_BLOCK, videos))


def _finite(scores: Scores) -> Scores:
    wrong = sum(int((~torch.isfinite(rows)).sum()) for part in scores.parts for rows in part.split(_ROWS_CHECKED))
    if wrong:
        raise ValueError(f"{wrong} of {sum(part.numel() for part in scores.parts)} scores are not numbers")
    return scores
