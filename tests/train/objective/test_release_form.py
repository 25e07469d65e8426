"""The release form against loops that follow its description word for word, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.train.objective import obvious
from tests.train.objective.test_region_word import Largest, example, unit, with_gradients
from train.objective.release_form import release_loss, release_similarity


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    sizes=st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 4), st.integers(2, 7)),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    focal=st.booleans(),
    tile_scores=st.integers(1, 400),
)
def test_similarity_and_gradients_equal_the_loop(
    seed: int, sizes: tuple[int, int, int, int], share: float, focal: bool, tile_scores: int
) -> None:
    inputs = example(seed, sizes, share)
    ours, slow = release_similarity(*inputs, focal, tile_scores), obvious.release_similarity(*inputs, focal)
    for one, other in zip(
        with_gradients(ours, inputs[0], inputs[2]), with_gradients(slow, inputs[0], inputs[2]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("focal", [True, False])
def test_vectors_of_any_length_equal_the_loop(focal: bool) -> None:
    regions, region_mask, words, word_mask = example()
    regions, words = (3 * regions).detach().requires_grad_(), (words / 2).detach().requires_grad_()
    inputs = (regions, region_mask, words, word_mask)
    ours, slow = release_similarity(*inputs, focal), obvious.release_similarity(*inputs, focal)
    for one, other in zip(with_gradients(ours, regions, words), with_gradients(slow, regions, words), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_float32_is_as_near_as_its_rounding() -> None:
    torch.manual_seed(0)
    inputs = unit(6, 30, 64), torch.rand(6, 30) < 0.8, unit(6, 40, 64), torch.arange(40) < torch.tensor([[12]] * 6)
    narrow = [tensor.float() if tensor.is_floating_point() else tensor for tensor in inputs]
    torch.testing.assert_close(
        release_similarity(*narrow, False).double(), obvious.release_similarity(*inputs, False), rtol=0, atol=1e-5
    )


def test_padded_width_is_part_of_the_result() -> None:
    regions, region_mask, words, word_mask = example()
    wider = F.pad(words, (0, 0, 0, 3)), F.pad(word_mask, (0, 3))
    assert not torch.allclose(
        release_similarity(regions, region_mask, words, word_mask, True),
        release_similarity(regions, region_mask, *wider, True),
    )


@pytest.mark.parametrize("focal", [True, False])
@pytest.mark.parametrize("length", [0.0, 1.0])
def test_masked_equal_or_zero_vectors_give_finite_values_and_gradients(focal: bool, length: float) -> None:
    """With equal vectors no attention is above its mean."""
    regions = torch.full((2, 3, 4), length / 2, requires_grad=True)
    words = torch.full((3, 1, 4), length / 2, requires_grad=True)
    masks = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, 1, dtype=torch.bool)
    similarity = release_similarity(regions, masks[0], words, masks[1], focal)
    torch.testing.assert_close(similarity, torch.full((2, 3), 2 * length))
    similarity.sum().backward()
    assert regions.grad.isfinite().all() and words.grad.isfinite().all()
    assert release_similarity(regions, masks[0], words[:, :0], masks[1][:, :0], focal).tolist() == [[0.0] * 3] * 2


def test_loss_and_gradient_equal_the_loop() -> None:
    torch.manual_seed(0)
    similarity = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    ours, slow = release_loss(similarity), obvious.release_loss(similarity)
    torch.testing.assert_close(ours, slow, rtol=1e-7, atol=0)
    grads = [torch.autograd.grad(loss, similarity)[0] for loss in (ours, slow)]
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


def test_a_row_as_sharp_as_float32_allows_gives_no_nan() -> None:
    similarity = (torch.eye(3) * 100).requires_grad_()
    release_loss(similarity).backward()
    assert similarity.grad.isfinite().all()


def test_no_tensor_outgrows_a_tile_and_the_embeddings() -> None:
    regions, words = unit(32, 10, 4).requires_grad_(), unit(32, 12, 4).requires_grad_()
    masks = torch.ones(32, 10, dtype=torch.bool), torch.ones(32, 12, dtype=torch.bool)
    with Largest() as largest:
        release_similarity(regions, masks[0], words, masks[1], True, 1000).sum().backward()
    assert largest.elements <= max(1000, regions.numel(), words.numel(), 32 * 12 * 12)
