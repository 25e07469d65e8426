"""The video encoder against full attention under a mask built pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import ModelConfig
from train.networks.attention import DividedSpaceAttention, Keys
from train.networks.video_encoder import VideoEncoder
from train.networks.vit_weights import load_vit


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


def slow_attention(layer: DividedSpaceAttention, tokens: Tensor, mask: Tensor) -> Tensor:
    """Every head and query by itself, over the keys that the method allows it."""
    B, S, D = tokens.shape
    _, F, R = mask.shape
    d = D // layer.heads
    frame_of = [-1] + [f for f in range(F) for _ in range(R)]
    out = torch.zeros(B, S, D, dtype=tokens.dtype)
    for b in range(B):
        real = [True, *mask[b].flatten().tolist()]
        qkv = layer.qkv(tokens[b])
        for query in range(S):
            keys = [k for k in range(S) if real[k] and (query == 0 or k == 0 or frame_of[k] == frame_of[query])]
            for h in range(layer.heads):
                q, k, v = (qkv[:, part * D + h * d : part * D + (h + 1) * d] for part in range(3))
                weights = torch.softmax(k[keys] @ q[query] / math.sqrt(d), dim=0)
                out[b, query, h * d : (h + 1) * d] = weights @ v[keys]
    return layer.proj(out)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_divided_attention_equals_pairwise_attention(frames: int) -> None:
    torch.manual_seed(0)
    layer = DividedSpaceAttention(16, 4).double()
    mask = random_batch(3, frames, 5).mask_BFR
    tokens = torch.randn(3, 1 + frames * 5, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(tokens, Keys.of(mask)), slow_attention(layer, tokens, mask), rtol=1e-9, atol=1e-12)


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


def save_as_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(tensors, path)
    return path


def save_as_pth(tensors: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".pth")
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.mark.parametrize("save", [save_as_safetensors, save_as_pth])
def test_vit_weights_load(
    encoder: VideoEncoder, model_config: ModelConfig, tmp_path: Path, save: Callable[..., Path]
) -> None:
    vit = {n: t.clone() for n, t in encoder.state_dict().items() if n.startswith("blocks.")}
    vit |= {"cls_token": torch.randn(1, 1, 32), "pos_embed": torch.randn(1, 197, 32), "head.bias": torch.zeros(10)}
    fresh = VideoEncoder(model_config)
    assert load_vit(fresh, save(vit, tmp_path / "vit")) == ["head.bias", "pos_embed"]
    torch.testing.assert_close(fresh.blocks.state_dict(), encoder.blocks.state_dict())
    torch.testing.assert_close(fresh.cls_token.data, vit["cls_token"] + vit["pos_embed"][:, :1])


def test_vit_weights_of_another_depth_are_refused(encoder: VideoEncoder, tmp_path: Path) -> None:
    vit = {n: t.clone() for n, t in encoder.state_dict().items() if n.startswith("blocks.0.") or n == "cls_token"}
    with pytest.raises(InputError, match=r"blocks\.1\.attn\.proj\.bias is absent in the file"):
        load_vit(encoder, save_as_safetensors(vit, tmp_path / "vit"))
    with pytest.raises(InputError, match="no such file of ViT weights"):
        load_vit(encoder, tmp_path / "absent.pth")
