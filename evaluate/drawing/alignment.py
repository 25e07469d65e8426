"""Which regions answer to which words, for one video and one sentence, in the form that the model was trained with.

Letters: N regions, L tokens (in the release form: positions), W whole words, E joint width; P queries, M contexts.

Slides' form (method: local objective): region n gives token l the share ``a_nl = softmax_l(sharpness * <r_n, t_l>)``
of its attention, and answers to the sentence with ``s_n = sum_l a_nl <r_n, t_l>``; the mean of ``s_n`` over the real
regions is the local similarity of the pair. Release form (method: local, release form): regions look for words, and
words for regions; both are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.embed import TextTable, VideoTable
from train.config import LossConfig
from train.objective.release_form import ATTENTION_FACTOR

_CONTINUES = "##"
_END = "[SEP]"
_SLOPE, _EPS = 0.1, 1e-8


@dataclass(frozen=True, eq=False)
class Alignment:
    """words: the W words. shares_NW: float [N, W], each region's attention over the words; each row sums to 1.

    answer_N: float [N], how well each region answers to the sentence, in cosine units. similarity: the local similarity
    of the pair. sought_NW: each word's attention over the regions, each column sums to 1; release form only. Rows of
    regions that do not exist are 0.
    """

    words: tuple[str, ...]
    shares_NW: NDArray[np.float64]
    answer_N: NDArray[np.float64]
    similarity: float = 0.0
    sought_NW: NDArray[np.float64] | None = None


def align_pair(videos: VideoTable, b: int, texts: TextTable, u: int, loss: LossConfig) -> Alignment:
    """Video ``b`` and distinct sentence ``u`` in the form that ``loss`` says."""
    regions_NE, mask_N = videos.regions_BNE[b].numpy(), videos.mask_BN[b].numpy()
    if loss.local_form == "release" and texts.padded_ULE is not None and texts.mask_UL is not None:
        positions_LE, mask_L = texts.padded_ULE[u].numpy(), texts.mask_UL[u].numpy()
        return align_release(regions_NE, mask_N, positions_LE, mask_L, texts.tokens[u], loss.focal)
    return align(regions_NE, mask_N, texts.words[u].numpy(), texts.tokens[u], loss.sharpness)


def align(
    regions_NE: NDArray[np.floating],
    region_mask_N: NDArray[np.bool_],
    words_LE: NDArray[np.floating],
    tokens: Sequence[str],
    sharpness: float,
) -> Alignment:
    """The slides' form: the attention of each region over the words of a sentence.

    ``words_LE`` are the vectors of the real tokens alone, ``tokens`` their texts; pieces of one word (WordPiece:
    ``play ##ing``) are joined and their shares added.

    Raises:
        ValueError: the number of texts and vectors differs.
    """
    if len(tokens) != len(words_LE):
        raise ValueError(f"{len(tokens)} tokens for {len(words_LE)} vectors")
    scores_NL = regions_NE.astype(np.float64) @ words_LE.astype(np.float64).T
    shares_NL = _softmax(sharpness * scores_NL, axis=1)
    shares_NL[~region_mask_N] = 0.0
    answer_N = (shares_NL * scores_NL).sum(axis=1)
    words, starts = join_pieces(tokens)
    similarity = float(answer_N.sum() / max(int(region_mask_N.sum()), 1))
    return Alignment(tuple(words), _joined(shares_NL, starts), answer_N, similarity)


def align_release(
    regions_NE: NDArray[np.floating],
    region_mask_N: NDArray[np.bool_],
    positions_LE: NDArray[np.floating],
    position_mask_L: NDArray[np.bool_],
    tokens: Sequence[str],
    focal: bool,
) -> Alignment:
    """The release form, both of its attentions: padded regions and positions take part as queries, as in the score.

    ``positions_LE`` are all positions of the padded sentence. Those that are attended to and have no token are the
    sentence's end, which that form counts among the words. The attention of a word's pieces over the regions is
    averaged, that of a region over the pieces is added.

    Raises:
        ValueError: more tokens than positions that are attended to.
    """
    real = np.flatnonzero(position_mask_L)
    if len(tokens) > len(real):
        raise ValueError(f"{len(tokens)} tokens for {len(real)} positions")
    regions_NE, positions_LE = regions_NE.astype(np.float64), positions_LE.astype(np.float64)
    shares_NL, found_N = _look_for(regions_NE, positions_LE, position_mask_L, focal)
    sought_LN, found_L = _look_for(positions_LE, regions_NE, region_mask_N, focal)
    words, starts = join_pieces([*tokens, *[_END] * (len(real) - len(tokens))])
    shares_NL[~region_mask_N] = 0.0
    pieces_W = np.diff([*starts, len(real)])
    return Alignment(
        tuple(words),
        _joined(shares_NL[:, real], starts),
        np.where(region_mask_N, found_N, 0.0),
        float(found_N.mean() + found_L.mean()),
        _joined(sought_LN.T[:, real], starts) / pieces_W,
    )


def join_pieces(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """Whole words of a token list, and the place of each word's first token."""
    words: list[str] = []
    starts: list[int] = []
    for place, token in enumerate(tokens):
        if token.startswith(_CONTINUES) and words:
            words[-1] += token.removeprefix(_CONTINUES)
        else:
            words.append(token)
            starts.append(place)
    return words, starts


def _look_for(
    queries_PE: NDArray[np.float64], contexts_ME: NDArray[np.float64], mask_M: NDArray[np.bool_], focal: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Attention [P, M] of each query over the contexts, and its cosine [P] with what it finds."""
    mask_M = mask_M | ~mask_M.any()
    scores_PM = queries_PE @ contexts_ME.T
    slanted_PM = np.where(scores_PM > 0, scores_PM, _SLOPE * scores_PM)
    slanted_PM = slanted_PM / (np.linalg.norm(slanted_PM, axis=0) + _EPS)
    attention_PM = _softmax(np.where(mask_M, ATTENTION_FACTOR * slanted_PM, -np.inf), axis=1)
    if focal:
        kept_PM = attention_PM > attention_PM.mean(axis=1, keepdims=True)
        attention_PM = attention_PM * (kept_PM | ~kept_PM.any(axis=1, keepdims=True))
        attention_PM /= attention_PM.sum(axis=1, keepdims=True)
    lengths_P = np.linalg.norm(attention_PM @ contexts_ME, axis=1) * np.linalg.norm(queries_PE, axis=1)
    return attention_PM, (attention_PM * scores_PM).sum(axis=1) / np.maximum(lengths_P, _EPS)


def _softmax(scores: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True, initial=-np.inf))
    return weights / weights.sum(axis=axis, keepdims=True)


def _joined(values_NL: NDArray[np.float64], starts: Sequence[int]) -> NDArray[np.float64]:
    """Sums over the pieces of each word: [N, L] to [N, W]."""
    return np.add.reduceat(values_NL, starts, axis=1) if starts else np.zeros((len(values_NL), 0))
