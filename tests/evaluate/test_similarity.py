"""Scores in blocks, of pairs, in parts, and in the release form, where padded regions and words count."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evaluate.embed import TextTable, VideoTable, embed_sentences
from evaluate.similarity import SENTENCE_BLOCK, VIDEO_BLOCK, score_matrix, score_pairs, score_parts
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


class Watched:
    """A table of which it is known what was read."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table, self.read = table, []

    def __getitem__(self, videos: slice) -> torch.Tensor:
        self.read += [range(len(self.table))[videos]]
        return self.table[videos]


def tables(videos: int, sentences: int) -> tuple[VideoTable, TextTable]:
    torch.manual_seed(1)
    lengths = torch.randint(1, 6, (sentences,))
    padded_ULE, mask_UL = unit(sentences, 5, 16), torch.arange(5) < lengths[:, None]
    words = tuple(vectors[mask] for vectors, mask in zip(padded_ULE, mask_UL, strict=True))
    texts = TextTable(np.arange(sentences), unit(sentences, 16), words, (), padded_ULE, mask_UL)
    ids = tuple(map(str, range(videos)))
    return VideoTable(ids, unit(videos, 16), unit(videos, 4, 16), torch.rand(videos, 4) < 0.8, ()), texts


@pytest.mark.parametrize("form", ["slides", "release"])
def test_slices_have_the_bits_of_the_whole_and_pairs_its_values(form: str) -> None:
    loss = LossConfig(local_form=form, sharpness=5.0)
    videos, texts = tables(VIDEO_BLOCK + 9, 3 * SENTENCE_BLOCK - 7)
    whole = score_matrix(videos, texts, loss)
    cuts = [0, SENTENCE_BLOCK, 2 * SENTENCE_BLOCK, None]
    slices = [score_matrix(videos, texts, loss, sentences=slice(*cut)) for cut in itertools.pairwise(cuts)]
    for cut in (slice(60, 70), slice(-3, None), slice(5, 5)):
        part = score_matrix(videos, texts, loss, sentences=cut)
        assert torch.equal(part.global_UB, whole.global_UB[cut]) and torch.equal(part.local_UB, whole.local_UB[cut])
    for name in ("global_UB", "local_UB"):
        assert torch.equal(torch.cat([getattr(part, name) for part in slices]), getattr(whole, name))
    rows = [3, 120, 3, 64]
    for b in (0, VIDEO_BLOCK + 3):
        one = (videos.cls_BE[b], videos.regions_BNE[b], videos.mask_BN[b])
        found_K = score_pairs(*one, texts, rows, loss)
        torch.testing.assert_close(found_K, whole.combined_UB[rows, b], rtol=0, atol=1e-6)


def test_regions_are_read_once_a_block_at_a_time() -> None:
    videos, texts = tables(2 * VIDEO_BLOCK + 1, SENTENCE_BLOCK + 1)
    watched = dataclasses.replace(videos, regions_BNE=Watched(videos.regions_BNE))
    found = score_matrix(watched, texts, LossConfig())
    assert torch.equal(found.local_UB, score_matrix(videos, texts, LossConfig()).local_UB)
    read = watched.regions_BNE.read
    assert max(map(len, read)) == VIDEO_BLOCK and list(itertools.chain(*read)) == list(range(len(videos.ids)))


def test_what_cannot_be_scored_is_refused() -> None:
    videos, texts = tables(3, 4)
    with pytest.raises(ValueError, match="not consecutive"):
        score_matrix(videos, texts, LossConfig(), sentences=slice(0, 4, 2))
    videos.cls_BE[1, 0] = torch.inf
    with pytest.raises(ValueError, match="4 of 24 scores are not numbers"):
        score_matrix(videos, texts, LossConfig())
    with pytest.raises(ValueError, match="2 of 4 scores are not numbers"):
        score_pairs(videos.cls_BE[1], videos.regions_BNE[1], videos.mask_BN[1], texts, [0, 2], LossConfig())
