"""Attention within and across frames against loops over every query, head and key."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from train.networks.attention import DividedSpaceAttention, Keys, TimeAttention

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def random_mask(frames: int) -> Tensor:
    """Of 3 videos and 5 regions; the first has a frame without regions, the last has none at all."""
    torch.manual_seed(frames)
    mask = torch.rand(3, frames, 5) > 0.3
    mask[0, -1] = False
    mask[-1] = False
    return mask


def slowly(layer: DividedSpaceAttention | TimeAttention, tokens: Tensor, allowed: Callable[[int, int], bool]) -> Tensor:
    """Attention over tokens [S, D] of one video, before the last map; ``allowed(query, key)``."""
    S, D = tokens.shape
    d = D // layer.heads
    qkv, out = layer.qkv(tokens), torch.zeros_like(tokens)
    for query in range(S):
        keys = [key for key in range(S) if allowed(query, key)]
        for h in range(layer.heads):
            q, k, v = (qkv[:, part * D + h * d : part * D + (h + 1) * d] for part in range(3))
            weights = torch.softmax(k[keys] @ q[query] / math.sqrt(d), dim=0)
            out[query, h * d : (h + 1) * d] = weights @ v[keys]
    return layer.proj(out)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_divided_space_attention(frames: int) -> None:
    mask = random_mask(frames)
    layer = DividedSpaceAttention(16, 4).double()
    tokens = torch.randn(3, 1 + frames * 5, 16, dtype=torch.float64)
    frame_of = [-1] + [f for f in range(frames) for _ in range(5)]
    found = layer(tokens, Keys.of(mask))
    for b in range(3):
        real = [True, *mask[b].flatten().tolist()]

        def allowed(query: int, key: int, real: list[bool] = real) -> bool:
            return real[key] and (query == 0 or key == 0 or frame_of[key] == frame_of[query])

        torch.testing.assert_close(found[b], slowly(layer, tokens[b], allowed), **CLOSE)


@pytest.mark.parametrize("frames", [1, 3])
def test_time_attention(frames: int) -> None:
    mask = random_mask(frames)
    layer = TimeAttention(16, 4).double()
    regions_BRFD = torch.randn(3, 5, frames, 16, dtype=torch.float64)
    found = layer(regions_BRFD, Keys.of(mask))
    for b in range(3):
        for r in range(5):
            real = mask[b, :, r].tolist()
            if any(real):
                expected = slowly(layer, regions_BRFD[b, r], lambda query, key, real=real: real[key])
                torch.testing.assert_close(found[b, r], expected, **CLOSE)
    assert found.isfinite().all()


@pytest.mark.parametrize("frames", [1, 3])
def test_the_flash_kernel_takes_the_masks(frames: int) -> None:
    keys = Keys.of(random_mask(frames))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        DividedSpaceAttention(16, 4)(torch.randn(3, 1 + frames * 5, 16), keys).sum().backward()
        TimeAttention(16, 4)(torch.randn(3, 5, frames, 16), keys).sum().backward()
