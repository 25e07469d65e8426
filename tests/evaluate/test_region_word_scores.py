"""Scores alone, against the loop of the formula, against the training kernel, and where exponentials are largest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from evaluate.region_word_scores import RegionTiles, region_word_scores
from tests.train.objective import obvious
from train.objective.region_word import region_word_similarity


def made(seed: int, lengths: list[int], counts: list[int]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Regions [B, N, E] of which ``counts`` are real, scattered, their mask, and words of these lengths."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, 16, generator=generator), dim=-1)

    N = max(counts, default=0)
    mask_BN = torch.zeros(len(counts), N, dtype=torch.bool)
    for row_N, count in zip(mask_BN, counts, strict=True):
        row_N[torch.randperm(N, generator=generator)[:count]] = True
    return unit(len(counts), N), mask_BN, [unit(length) for length in lengths]


def padded(words: list[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(words_LE) for words_LE in words])
    words_CLE = pad_sequence(words, batch_first=True)
    return words_CLE, torch.arange(words_CLE.shape[1]) < lengths[:, None]


@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.sampled_from([0.01, 1.0, 20.0, 69.0, 71.0, 300.0]),
    st.sampled_from([1, 12, 60, None]),
)
def test_scores_equal_the_loop_and_the_training_kernel(
    seed: int, lengths: list[int], counts: list[int], sharpness: float, tile_scores: int | None
) -> None:
    regions_BNE, mask_BN, words = made(seed, lengths, counts)
    found_CB = region_word_scores(RegionTiles.of(regions_BNE, mask_BN, "cpu", tile_scores), words, sharpness)
    words_CLE, mask_CL = padded(words)
    exact_BC = obvious.slides_similarity(regions_BNE.double(), mask_BN, words_CLE.double(), mask_CL, sharpness)
    torch.testing.assert_close(found_CB.double(), exact_BC.T, rtol=0, atol=1e-6)
    trained_BC = region_word_similarity(regions_BNE, mask_BN, words_CLE, mask_CL, sharpness)
    torch.testing.assert_close(found_CB, trained_BC.T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sharpness", [70.0, 70.5, 1e6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_exponential_leaves_float32(sharpness: float, sign: float) -> None:
    word = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(0)), dim=0)
    tiles = RegionTiles.of((sign * word).expand(2, 3, 16), torch.ones(2, 3, dtype=torch.bool))
    found_CB = region_word_scores(tiles, [word.expand(1000, 16)], sharpness)
    torch.testing.assert_close(found_CB, torch.full((1, 2), sign), rtol=0, atol=1e-6)


def test_half_vectors_are_scored_in_full() -> None:
    regions_BNE, mask_BN, words = made(0, [3, 2], [2, 4])
    halves = RegionTiles.of(regions_BNE.half(), mask_BN), [words_LE.half() for words_LE in words]
    found_CB = region_word_scores(*halves, 20.0)
    widened = RegionTiles.of(regions_BNE.half().float(), mask_BN), [words_LE.half().float() for words_LE in words]
    assert found_CB.dtype == torch.float32 and torch.equal(found_CB, region_word_scores(*widened, 20.0))
