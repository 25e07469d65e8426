"""The score of every sentence with every video: global cosine plus region-word similarity, in tiles of bounded memory.

Letters: B videos, U distinct sentences, N regions a video, L words, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluate.embed import TextTable, VideoTable
from train.config import LossConfig
from train.losses import TILE_SCORES, global_similarity, region_word_similarity
from train.objective import release_form
from train.objective.release_form import release_similarity


@torch.inference_mode()
def score_matrix(
    videos: VideoTable,
    texts: TextTable,
    loss: LossConfig,
    *,
    device: torch.device | str = "cpu",
    tile_scores: int = TILE_SCORES,
) -> Tensor:
    """Scores [U, B], float32 on the CPU: the sum of the similarities that the model was trained with.

    A similarity whose weight in ``loss`` is 0 was not trained and is left out. ``tile_scores`` bounds the
    region-word scores held at once; the result does not depend on it beyond rounding.

    Raises:
        ValueError: a score is not a finite number (a model that diverged).
    """
    scores_UB = torch.zeros(len(texts.words), len(videos.ids))
    if loss.global_weight:
        scores_UB += global_similarity(videos.cls_BE, texts.cls_UE).T
    if loss.local_weight:
        words_ULE, masks_UL = _words(texts, device)
        for rows in _tiles(videos, words_ULE.shape[1], tile_scores):
            regions, mask = videos.regions_BNE[rows].to(device), videos.mask_BN[rows].to(device)
            if loss.local_form == "release":
                most = min(tile_scores, release_form.TILE_SCORES)
                local_bU = release_similarity(regions, mask, words_ULE, masks_UL, loss.focal, most)
            else:
                local_bU = region_word_similarity(regions, mask, words_ULE, masks_UL, loss.sharpness, tile_scores)
            scores_UB[:, rows] += local_bU.T.float().cpu()
    if not torch.isfinite(scores_UB).all():
        raise ValueError(f"{int((~torch.isfinite(scores_UB)).sum())} of {scores_UB.numel()} scores are not numbers")
    return scores_UB


def score_parts(loss: LossConfig) -> str:
    """The score in words, for results and pages."""
    parts = (
        ("global cosine", loss.global_weight),
        (_local_part(loss), loss.local_weight),
    )
    return " + ".join(name for name, weight in parts if weight)


def _local_part(loss: LossConfig) -> str:
    if loss.local_form == "release":
        return f"region-word similarity in the release's form ({'focal' if loss.focal else 'not focal'})"
    return f"region-word similarity (sharpness {loss.sharpness:g})"


def _tiles(videos: VideoTable, longest: int, tile_scores: int) -> Iterator[slice]:
    """Rows of videos such that one sentence with all of them stays within ``tile_scores``."""
    step = max(tile_scores // max(videos.mask_BN.shape[1] * longest, 1), 1)
    for start in range(0, len(videos.ids), step):
        yield slice(start, start + step)


def _words(texts: TextTable, device: torch.device | str) -> tuple[Tensor, Tensor]:
    if texts.padded is not None:
        return texts.padded.words_ULE.to(device), texts.padded.mask_UL.to(device)
    return _padded(texts.words, device)


def _padded(words: tuple[Tensor, ...], device: torch.device | str) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(w) for w in words])
    padded_ULE = pad_sequence(list(words), batch_first=True)
    mask_UL = torch.arange(padded_ULE.shape[1])[None, :] < lengths[:, None]
    return padded_ULE.to(device), mask_UL.to(device)
