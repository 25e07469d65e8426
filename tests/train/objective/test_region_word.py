"""The fused region-word similarity against loops over the formula, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.train.objective.obvious import slides_similarity
from train.objective.region_word import region_word_similarity


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def example(seed: int = 0, sizes: tuple[int, int, int, int] = (4, 6, 5, 7), share: float = 0.7) -> tuple[Tensor, ...]:
    """By default 4 videos of 6 regions, 5 sentences of 7 words; video 1 has no region, sentence 2 no word."""
    torch.manual_seed(seed)
    B, N, C, L = sizes
    region_mask, word_mask = torch.rand(B, N) < share, torch.rand(C, L) < share
    if sizes == (4, 6, 5, 7):
        region_mask[0, 0] = word_mask[0, 0] = True
        region_mask[1], word_mask[2] = False, False
    return unit(B, N, 8).requires_grad_(), region_mask, unit(C, L, 8).requires_grad_(), word_mask


def with_gradients(similarity: Tensor, regions: Tensor, words: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    weights = torch.randn(similarity.shape, dtype=similarity.dtype)
    return similarity, *torch.autograd.grad((similarity * weights).sum(), (regions, words))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    sizes=st.tuples(*(st.integers(1, most) for most in (5, 5, 5, 8))),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    sharpness=st.sampled_from([1.0, 20.0]),
    tile_scores=st.integers(1, 400),
    kept_scores=st.sampled_from([0, 10**6]),
)
def test_similarity_and_gradients_equal_the_loop(
    seed: int, sizes: tuple[int, int, int, int], share: float, sharpness: float, tile_scores: int, kept_scores: int
) -> None:
    inputs = example(seed, sizes, share)
    ours = region_word_similarity(*inputs, sharpness, tile_scores, kept_scores)
    slow = slides_similarity(*inputs, sharpness)
    for one, other in zip(
        with_gradients(ours, inputs[0], inputs[2]), with_gradients(slow, inputs[0], inputs[2]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kept_scores", [0, 10**6])
def test_gradient_passes_the_numerical_check(kept_scores: int) -> None:
    regions, region_mask, words, word_mask = example()
    assert torch.autograd.gradcheck(
        lambda r, w: region_word_similarity(r, region_mask, w, word_mask, 5.0, 1, kept_scores), (regions, words)
    )


def test_masked_regions_and_words_change_nothing() -> None:
    regions, region_mask, words, word_mask = (tensor.detach() for tensor in example())
    before = region_word_similarity(regions, region_mask, words, word_mask, 20.0)
    regions[~region_mask], words[~word_mask] = torch.nan, -3.0
    torch.testing.assert_close(region_word_similarity(regions, region_mask, words, word_mask, 20.0), before)


def test_nothing_to_compare_gives_zero_and_finite_gradients() -> None:
    regions, _, words, _ = example()
    none_regions, none_words = torch.zeros(4, 6, dtype=torch.bool), torch.zeros(5, 7, dtype=torch.bool)
    similarity = region_word_similarity(regions, none_regions, words, none_words, 20.0)
    similarity.sum().backward()
    assert (similarity == 0).all() and (regions.grad == 0).all() and (words.grad == 0).all()
    assert region_word_similarity(regions, none_regions, words[:0], none_words[:0], 20.0).shape == (4, 0)
    assert region_word_similarity(regions, none_regions, words[:, :0], none_words[:, :0], 20.0).shape == (4, 5)
    assert region_word_similarity(regions[:0], none_regions[:0], words, none_words, 20.0).shape == (0, 5)


def test_autocast_and_narrow_embeddings_are_computed_in_float32() -> None:
    regions, region_mask, words, word_mask = example()
    narrow = regions.detach().bfloat16(), region_mask, words.detach().bfloat16(), word_mask
    wide = region_word_similarity(narrow[0].float(), region_mask, narrow[2].float(), word_mask, 20.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(region_word_similarity(*narrow, 20.0), wide)


class Largest(TorchDispatchMode):
    """The most elements that any tensor made under it has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return found


@pytest.mark.parametrize("videos", [8, 64])
def test_no_tensor_outgrows_a_tile_and_the_embeddings(videos: int) -> None:
    """64 videos and sentences have 430 080 scores, one sentence with all videos 6 720."""
    regions, words = unit(videos, 15, 4).requires_grad_(), unit(64, 7, 4).requires_grad_()
    masks = torch.ones(videos, 15, dtype=torch.bool), torch.ones(64, 7, dtype=torch.bool)
    with Largest() as largest:
        region_word_similarity(regions, masks[0], words, masks[1], 1.0, 2000, 0).sum().backward()
    assert largest.elements <= max(2000, regions.numel(), words.numel(), videos * 64)
