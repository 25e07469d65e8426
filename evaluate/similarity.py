"""The score of every sentence with every video: global cosine plus region-word similarity, in tiles of bounded memory.

Letters: B videos, U distinct sentences, N regions a video, L words, E joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluate.embed import TextTable, VideoTable
from train.config import LossConfig
from train.losses import global_similarity
from train.objective.region_word import region_word_similarity
from train.objective.release_form import release_similarity

_VIDEOS_AT_ONCE = 1024  # on the device


@torch.inference_mode()
def score_matrix(
    videos: VideoTable,
    texts: TextTable,
    loss: LossConfig,
    *,
    device: torch.device | str = "cpu",
    tile_scores: int | None = None,
) -> Tensor:
    """Scores [U, B], float32 on the CPU: the sum of the similarities that the model was trained with.

    A similarity whose weight in ``loss`` is 0 was not trained and is left out; the local one is in the form that
    ``loss`` says. ``tile_scores`` bounds the region-word scores held at once (None: by device); the result does not
    depend on it beyond rounding.

    Raises:
        ValueError: a score is not a finite number (a model that diverged), or the sentences come from a model of
            another form.
    """
    scores_UB = torch.zeros(len(texts.cls_UE), len(videos.ids))
    if loss.global_weight:
        scores_UB += global_similarity(videos.cls_BE, texts.cls_UE).T
    if loss.local_weight:
        words_ULE, masks_UL = _positions(texts, loss, device)
        for start in range(0, len(videos.ids), _VIDEOS_AT_ONCE):
            rows = slice(start, start + _VIDEOS_AT_ONCE)
            regions, mask = videos.regions_BNE[rows].to(device), videos.mask_BN[rows].to(device)
            if loss.local_form == "release":
                local_bU = release_similarity(regions, mask, words_ULE, masks_UL, loss.focal, tile_scores)
            else:
                local_bU = region_word_similarity(regions, mask, words_ULE, masks_UL, loss.sharpness, tile_scores)
            scores_UB[:, rows] += local_bU.T.float().cpu()
    if not torch.isfinite(scores_UB).all():
        raise ValueError(f"{int((~torch.isfinite(scores_UB)).sum())} of {scores_UB.numel()} scores are not numbers")
    return scores_UB


def score_parts(loss: LossConfig) -> str:
    """The score in words, for results and pages."""
    form = f"sharpness {loss.sharpness:g}"
    if loss.local_form == "release":
        form = "release form, focal" if loss.focal else "release form"
    parts = (("global cosine", loss.global_weight), (f"region-word similarity ({form})", loss.local_weight))
    return " + ".join(name for name, weight in parts if weight)


def _positions(texts: TextTable, loss: LossConfig, device: torch.device | str) -> tuple[Tensor, Tensor]:
    if loss.local_form == "slides":
        return _padded(texts.words, device)
    if texts.padded_ULE is None or texts.mask_UL is None:
        raise ValueError("the release form scores padded sentences, these come from a model of another form")
    return texts.padded_ULE.to(device), texts.mask_UL.to(device)


def _padded(words: tuple[Tensor, ...], device: torch.device | str) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(w) for w in words])
    padded_ULE = pad_sequence(list(words), batch_first=True)
    mask_UL = torch.arange(padded_ULE.shape[1])[None, :] < lengths[:, None]
    return padded_ULE.to(device), mask_UL.to(device)
