"""Which regions answer to which words, for one video and one sentence.

Letters: N regions, L tokens, W whole words. Formula (method: local objective): region n gives token l the share
``a_nl = softmax_l(sharpness * <r_n, t_l>)`` of its attention, and answers to the sentence with
``s_n = sum_l a_nl <r_n, t_l>``; the mean of ``s_n`` over the real regions is the local similarity of the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONTINUES = "##"


@dataclass(frozen=True, eq=False)
class Alignment:
    """words: the W words. shares_NW: float [N, W], each row sums to 1. answer_N: float [N], cosine units.

    Rows of regions that do not exist are 0.
    """

    words: tuple[str, ...]
    shares_NW: NDArray[np.float64]
    answer_N: NDArray[np.float64]


def align(
    regions_NE: NDArray[np.floating],
    region_mask_N: NDArray[np.bool_],
    words_LE: NDArray[np.floating],
    tokens: Sequence[str],
    sharpness: float,
) -> Alignment:
    """The attention of each region over the words of a sentence.

    ``words_LE`` are the vectors of the real tokens alone, ``tokens`` their texts; pieces of one word (WordPiece:
    ``play ##ing``) are joined and their shares added.

    Raises:
        ValueError: the number of texts and vectors differs.
    """
    if len(tokens) != len(words_LE):
        raise ValueError(f"{len(tokens)} tokens for {len(words_LE)} vectors")
    scores_NL = regions_NE.astype(np.float64) @ words_LE.astype(np.float64).T
    raised_NL = sharpness * scores_NL
    weights_NL = np.exp(raised_NL - raised_NL.max(axis=1, keepdims=True, initial=-np.inf))
    shares_NL = weights_NL / weights_NL.sum(axis=1, keepdims=True)
    shares_NL[~region_mask_N] = 0.0
    answer_N = (shares_NL * scores_NL).sum(axis=1)
    words, starts = join_pieces(tokens)
    shares_NW = np.add.reduceat(shares_NL, starts, axis=1) if starts else np.zeros((len(regions_NE), 0))
    return Alignment(tuple(words), shares_NW, answer_N)


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
