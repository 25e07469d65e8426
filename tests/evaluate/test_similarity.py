"""Scores in the release form, where padded regions and words count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evaluate.embed import TextTable, VideoTable, embed_sentences
from evaluate.similarity import score_matrix, score_parts
from tests.train.objective import obvious
from train.config import LossConfig

RELEASE = LossConfig(local_form="release", global_weight=0.0)


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.mark.parametrize("tile_scores", [1, None])
def test_release_scores_equal_the_loop(tile_scores: int | None) -> None:
    torch.manual_seed(0)
    videos = VideoTable(("a", "b", "c"), unit(3, 8), unit(3, 5, 8), torch.rand(3, 5) < 0.7, ())
    mask_UL = torch.arange(6) < torch.tensor([[2], [6]])
    texts = TextTable(np.array([0, 1]), unit(2, 8), (), (), unit(2, 6, 8), mask_UL)
    loss = RELEASE.model_copy(update={"focal": False})
    found = score_matrix(videos, texts, loss, tile_scores=tile_scores).combined_UB
    embedded = (videos.regions_BNE.double(), videos.mask_BN, texts.padded_ULE.double(), mask_UL)
    expected = obvious.release_similarity(*embedded, focal=False)
    torch.testing.assert_close(found.double(), expected.T, rtol=0, atol=1e-5)


def test_sentences_keep_their_padding_for_the_release_form_alone(stand_in) -> None:
    sentences = ["the bell moves", "jugs moves", "drum"]
    slides = embed_sentences(stand_in, sentences)
    stand_in.loss = LossConfig(local_form="release")
    release = embed_sentences(stand_in, sentences)
    assert slides.padded_ULE is None and release.padded_ULE.shape[:2] == (3, 4)
    assert release.mask_UL.sum(1).tolist() == [3, 3, 1] and release.tokens == slides.tokens
    for kept, dropped in zip(release.words, slides.words, strict=True):
        assert torch.equal(kept, dropped)
    with pytest.raises(ValueError, match=r"padded to \[2, 4\] positions"):
        embed_sentences(stand_in, ["the bell moves", "drum"], batch_size=1)


def test_sentences_of_another_form_are_refused(stand_in) -> None:
    texts = embed_sentences(stand_in, ["drum"])
    videos = VideoTable(("a",), unit(1, 8), unit(1, 5, 8), torch.ones(1, 5, dtype=torch.bool), ())
    with pytest.raises(ValueError, match="model of another form"):
        score_matrix(videos, texts, RELEASE)


def test_the_form_is_part_of_the_scores_name() -> None:
    assert score_parts(RELEASE) == "region-word similarity (release form, focal)"
    assert score_parts(LossConfig()) == "global cosine + region-word similarity (sharpness 1)"
