"""Frames and regions chosen from a clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from data_specs.errors import InputError
from data_specs.regions import Regions
from train.batch import TextBatch, collate_regions, select_frames


@pytest.mark.parametrize(
    ("stored", "frames", "expected"),
    [(8, 8, range(8)), (8, 4, [0, 2, 4, 6]), (8, 1, [3]), (9, 3, [1, 4, 7]), (1, 1, [0]), (2, 4, [0, 1]), (0, 2, [])],
)
def test_the_middle_of_each_segment(stored: int, frames: int, expected: list[int]) -> None:
    assert select_frames(stored, frames, None).tolist() == list(expected)


def test_random_frames_cover_their_segments_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([select_frames(10, 4, rng.random(4)) for _ in range(400)])
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]


def test_collate_pads_and_masks(make_regions: Callable[..., Regions]) -> None:
    long = make_regions(np.random.default_rng(0), (4, 3, 2, 1))
    short = make_regions(np.random.default_rng(1), (2,))
    batch = collate_regions([long, short], frames=2, regions=3, box_dim=6)
    assert batch.features_BFRV.shape == (2, 2, 3, 12) and batch.features_BFRV.dtype == torch.float16
    assert batch.boxes_BFRK.shape == (2, 2, 3, 6) and batch.mask_BFR.dtype == torch.bool
    assert batch.mask_BFR.sum(-1).tolist() == [[3, 2], [2, 0]]  # the one frame is not taken twice
    np.testing.assert_array_equal(batch.features_BFRV[0, 1].numpy(), long.features[2, :3])
    np.testing.assert_array_equal(batch.boxes_BFRK[1, 0, :2].numpy(), short.boxes[0, :2, :6])
    assert (batch.features_BFRV[~batch.mask_BFR] == 0).all()


def test_more_regions_than_stored_are_masked(make_regions: Callable[..., Regions]) -> None:
    batch = collate_regions([make_regions(np.random.default_rng(0), (4, 4))], 2, 9, 7)
    assert batch.mask_BFR.sum().item() == 8 and not batch.mask_BFR[..., 4:].any()


def test_clips_of_different_widths_are_refused(make_regions: Callable[..., Regions]) -> None:
    clips = [make_regions(np.random.default_rng(0), width=width) for width in (12, 13)]
    with pytest.raises(InputError, match=r"different widths: \[12, 13\]"):
        collate_regions(clips, 1, 4, 7)
    with pytest.raises(InputError, match="at least one clip"):
        collate_regions([], 1, 4, 7)


def test_lengths_of_sentences_are_counted_once() -> None:
    """The meta device has no values: what is made of a batch there must have taken the lengths along."""
    mask_CL = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]).bool()
    text = TextBatch(torch.zeros(4, 5, dtype=torch.int64), mask_CL)
    assert text.lengths_C == [2, 4, 1, 3]
    elsewhere = text.to("meta")
    assert elsewhere.lengths_C == [2, 4, 1, 3]
    assert elsewhere[1:3].lengths_C == [4, 1]
    trimmed = elsewhere[2:].trimmed()
    assert trimmed.lengths_C == [1, 3] and trimmed.input_ids_CL.shape == trimmed.attention_mask_CL.shape == (2, 3)
    assert torch.equal(text.trimmed().attention_mask_CL, mask_CL[:, :4])
    assert len(text[4:]) == 0 and text[4:].lengths_C == []
