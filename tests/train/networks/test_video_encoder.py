"""The video encoder: embedding, masks, blocks computed again, precision, wrong batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import ModelConfig
from train.networks.video_encoder import VideoEncoder


def random_batch(B: int = 3, F: int = 3, R: int = 5, seed: int = 0) -> RegionBatch:
    torch.manual_seed(seed)
    mask = torch.rand(B, F, R) > 0.3
    mask[0, -1] = False  # a frame without regions
    mask[-1] = False  # a video without regions
    return RegionBatch(torch.randn(B, F, R, 12), torch.rand(B, F, R, 7), mask)


@pytest.fixture
def encoder(model_config: ModelConfig) -> VideoEncoder:
    torch.manual_seed(1)
    return VideoEncoder(model_config).eval()


def test_masked_regions_change_nothing(encoder: VideoEncoder) -> None:
    batch = random_batch()
    before = encoder(batch)
    batch.features_BFRV[~batch.mask_BFR] = 50.0
    batch.boxes_BFRK[~batch.mask_BFR] = 1.0
    after = encoder(batch)
    real = torch.cat([torch.ones(3, 1, dtype=torch.bool), batch.mask_BFR.flatten(1)], dim=1)
    torch.testing.assert_close(after[real], before[real])


def test_nothing_real_gives_no_nan(encoder: VideoEncoder) -> None:
    batch = random_batch()
    batch.mask_BFR[:] = False
    out = encoder(batch)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_order_of_regions_does_not_matter_but_order_of_frames_does(encoder: VideoEncoder) -> None:
    torch.nn.init.normal_(encoder.temporal_embed)  # zero until it learns
    batch = random_batch()
    order = torch.tensor([3, 1, 4, 0, 2])
    out = encoder(batch)
    shuffled = encoder(
        RegionBatch(batch.features_BFRV[:, :, order], batch.boxes_BFRK[:, :, order], batch.mask_BFR[:, :, order])
    )
    torch.testing.assert_close(shuffled[:, 0], out[:, 0], rtol=1e-4, atol=1e-6)
    by_frame, shuffled_by_frame = (x[:, 1:].view(3, 3, 5, -1) for x in (out, shuffled))
    torch.testing.assert_close(shuffled_by_frame, by_frame[:, :, order], rtol=1e-4, atol=1e-6)
    turned = encoder(RegionBatch(batch.features_BFRV.flip(1), batch.boxes_BFRK.flip(1), batch.mask_BFR.flip(1)))
    assert not torch.allclose(turned[:2, 0], out[:2, 0], atol=1e-4)


def test_first_layer_is_the_sum_of_the_method(model_config: ModelConfig) -> None:
    encoder = VideoEncoder(model_config.model_copy(update={"depth": 0}))
    batch = random_batch()
    x = batch.features_BFRV @ encoder.object_embedding.weight.T + encoder.object_embedding.bias
    x = x + batch.boxes_BFRK @ encoder.pos_embedding.weight.T + encoder.pos_embedding.bias
    for f in range(3):
        x[:, f] += encoder.temporal_embed[0, f]
    torch.testing.assert_close(encoder(batch)[:, 1:], (x @ encoder.proj.weight.T).flatten(1, 2))


def test_a_region_in_the_middle_begins_at_nothing_and_others_in_all_directions(model_config: ModelConfig) -> None:
    encoder = VideoEncoder(model_config.model_copy(update={"width": 64}))
    middle, left = (torch.tensor([x, 0.4, x + 0.2, 0.6, 0.2, 0.2, 0.04]) for x in (0.4, 0.0))
    assert encoder.pos_embedding(middle).abs().max() < 1e-6
    assert encoder.pos_embedding(left).std() > 0.5
    torch.manual_seed(3)
    plain = VideoEncoder(model_config)
    torch.manual_seed(3)
    larger = VideoEncoder(model_config.model_copy(update={"box_std": 3 * model_config.box_std}))
    torch.testing.assert_close(larger.pos_embedding(left), 3 * plain.pos_embedding(left))
    assert larger.pos_embedding(middle).abs().max() < 1e-5
    torch.testing.assert_close(larger.object_embedding.weight, plain.object_embedding.weight)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (RegionBatch(torch.zeros(1, 1, 2, 9), torch.zeros(1, 1, 2, 7), torch.ones(1, 1, 2).bool()), "9 wide"),
        (RegionBatch(torch.zeros(1, 1, 2, 12), torch.zeros(1, 1, 2, 6), torch.ones(1, 1, 2).bool()), "6 numbers"),
        (RegionBatch(torch.zeros(1, 9, 2, 12), torch.zeros(1, 9, 2, 7), torch.ones(1, 9, 2).bool()), "9 frames"),
    ],
)
def test_a_batch_of_another_shape_is_refused(encoder: VideoEncoder, batch: RegionBatch, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder(batch)


@pytest.mark.parametrize("frames", [1, 3])
def test_time_attention_changes_nothing_until_it_learns(model_config: ModelConfig, frames: int) -> None:
    torch.manual_seed(1)
    plain, timed = VideoEncoder(model_config), VideoEncoder(model_config.model_copy(update={"time_attention": True}))
    left_out = timed.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert left_out and all(".norm3." in name or ".timeattn." in name for name in left_out)
    batch = random_batch(F=frames)
    before = plain(batch)
    assert torch.equal(timed(batch), before)
    loss = timed(batch).square().sum()
    loss.backward()
    assert timed.blocks[0].timeattn.proj.weight.grad.abs().sum() > 0
    with torch.no_grad():
        for block in timed.blocks:
            torch.nn.init.normal_(block.timeattn.proj.weight)
    assert (timed(batch) - before).abs().max() > 0.01


@pytest.mark.parametrize("time_attention", [False, True])
def test_blocks_computed_again_give_equal_gradients(model_config: ModelConfig, time_attention: bool) -> None:
    torch.manual_seed(1)
    encoder = VideoEncoder(model_config.model_copy(update={"time_attention": time_attention}))
    once, most = gradients_and_kept(encoder)
    encoder.checkpoint_activations = True
    twice, fewest = gradients_and_kept(encoder)
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert fewest < most / 3


def gradients_and_kept(encoder: VideoEncoder) -> tuple[list[Tensor], int]:
    """Gradients of all parameters, and how many numbers the forward pass kept for the backward pass."""
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    encoder.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = encoder(random_batch())
    out.square().sum().backward()
    return [p.grad.clone() for p in encoder.parameters()], sum(kept)


@pytest.mark.parametrize("frames", [1, 3])
def test_nothing_real_gives_no_nan_in_bf16(model_config: ModelConfig, frames: int) -> None:
    torch.manual_seed(1)
    encoder = VideoEncoder(model_config.model_copy(update={"time_attention": True}))
    for block in encoder.blocks:
        torch.nn.init.normal_(block.timeattn.proj.weight, std=0.1)
    batch = random_batch(F=frames)
    batch.mask_BFR[1] = False
    exact = encoder(batch).detach()
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(batch)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_weights_begin_as_large_as_their_sums_need(model_config: ModelConfig) -> None:
    """ViT-B's at its width; larger in a narrower model, and larger still where the input is a box."""
    torch.manual_seed(0)
    for width, expected in ((768, 0.02), (48, 0.08)):
        made = VideoEncoder(model_config.model_copy(update={"width": width, "heads": 4, "depth": 1}))
        for module in (made.blocks[0].mlp.fc1, made.object_embedding, made.proj):
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
        boxes = made.pos_embedding(torch.rand(1000, 7))
        assert boxes.std().item() > 0.5


def test_without_boxes_they_tell_nothing(model_config: ModelConfig) -> None:
    torch.manual_seed(1)
    encoder = VideoEncoder(model_config.model_copy(update={"box_dim": 0})).eval()
    batch = random_batch()
    with pytest.raises(InputError, match="boxes have 7 numbers, the model reads 0"):
        encoder(batch)
    assert not [name for name, _ in encoder.named_parameters() if "pos_embedding" in name]
    bare = RegionBatch(batch.features_BFRV, batch.boxes_BFRK[..., :0], batch.mask_BFR)
    assert encoder(bare).isfinite().all()
