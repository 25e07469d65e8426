"""What is drawn as attention is the attention of the score: both forms add up to the model's own similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evaluate.drawing.alignment import align, align_pair, align_release, join_pieces
from evaluate.embed import TextTable, VideoTable
from train.config import LossConfig
from train.objective.region_word import region_word_similarity
from train.objective.release_form import release_similarity

TOKENS = ("a", "play", "##ing", "dog")


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0])), dim=-1)


def test_slides_form_is_the_similarity_of_the_score() -> None:
    regions, words, mask = unit(6, 8), unit(4, 8), torch.tensor([1, 1, 0, 1, 1, 0]).bool()
    found = align(regions.numpy(), mask.numpy(), words.numpy(), TOKENS, 7.0)
    wanted = region_word_similarity(regions[None], mask[None], words[None], torch.ones(1, 4).bool(), 7.0)
    assert found.similarity == pytest.approx(float(wanted), abs=1e-6)
    assert found.words == ("a", "playing", "dog") and found.sought_NW is None
    np.testing.assert_allclose(found.shares_NW.sum(1), mask.numpy(), atol=1e-9)
    scores = (regions @ words.T).numpy()
    weights = np.exp(7.0 * scores[0]) / np.exp(7.0 * scores[0]).sum()
    np.testing.assert_allclose(found.shares_NW[0], [weights[0], weights[1] + weights[2], weights[3]], atol=1e-6)


@pytest.mark.parametrize("focal", [False, True])
def test_release_form_is_the_similarity_of_the_score(focal: bool) -> None:
    regions, positions = unit(6, 8), unit(9, 8)
    region_mask, position_mask = torch.tensor([1, 1, 0, 1, 1, 0]).bool(), torch.arange(9) < 5
    found = align_release(regions.numpy(), region_mask.numpy(), positions.numpy(), position_mask.numpy(), TOKENS, focal)
    wanted = release_similarity(regions[None], region_mask[None], positions[None], position_mask[None], focal)
    assert found.similarity == pytest.approx(float(wanted), abs=1e-5)
    assert found.words == ("a", "playing", "dog", "[SEP]")
    np.testing.assert_allclose(found.shares_NW.sum(1), region_mask.numpy(), atol=1e-9)
    assert found.sought_NW is not None
    np.testing.assert_allclose(found.sought_NW.sum(0), 1.0, atol=1e-9)
    assert not found.sought_NW[~region_mask.numpy()].any()


def test_the_form_is_the_models() -> None:
    mask, positions = torch.ones(1, 3).bool(), unit(1, 5, 8)
    videos = VideoTable(("a",), unit(1, 8), unit(1, 3, 8), mask, ())
    texts = TextTable(
        np.array([0]), unit(1, 8), (positions[0, :4],), (TOKENS,), positions, torch.ones(1, 5, dtype=torch.bool)
    )  # fmt: skip
    assert align_pair(videos, 0, texts, 0, LossConfig()).sought_NW is None
    assert align_pair(videos, 0, texts, 0, LossConfig(local_form="release")).sought_NW is not None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="4 tokens for 3 vectors"):
        align(np.eye(3), np.ones(3, bool), np.eye(3), TOKENS, 1.0)
    with pytest.raises(ValueError, match="4 tokens for 3 positions"):
        align_release(np.eye(5), np.ones(5, bool), np.eye(5), np.arange(5) < 3, TOKENS, True)


def test_pieces_become_words() -> None:
    assert join_pieces(TOKENS) == (["a", "playing", "dog"], [0, 1, 3])
    assert join_pieces(["##s"]) == (["##s"], [0])
