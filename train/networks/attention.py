"""Attention over regions, within a frame and across frames, and which regions are keys.

Letters: B videos, F frames, R regions, N = F*R, D width, H heads, d = D/H, S = 1 + N tokens with [CLS] first.
Sources: arXiv 2203.07720; divided space-time attention is that of TimeSformer (arXiv 2102.05095) and Frozen in Time
(arXiv 2104.00650). Names of parameters follow timm's ViT and, across frames, Frozen in Time.

Masks are boolean and of one row a sequence, which all heads and queries share: on the CPU the flash kernel takes them
as they are, on CUDA the memory-efficient one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Keys:
    """Which tokens may be attended to, bool, made once for all blocks.

    video: [B, 1, 1, 1+F*R], of a whole video with [CLS]. frame: [B*F, 1, 1, 1+R], of a frame with [CLS]; equal to
    ``video`` for F = 1. rank: [B*R, 1, 1, F], of the regions of one rank. [CLS] is always a key. Where no region of a
    rank is real, all of them are keys, so that none is NaN: nothing reads what comes out.
    """

    frames: int
    regions: int
    video: Tensor
    frame: Tensor
    rank: Tensor

    @classmethod
    def of(cls, mask_BFR: Tensor) -> Keys:
        """From the mask of real regions, bool [B, F, R]."""
        B, frames, R = mask_BFR.shape
        video = F.pad(mask_BFR.flatten(1), (1, 0), value=True)[:, None, None]
        frame = F.pad(mask_BFR.reshape(B * frames, R), (1, 0), value=True)[:, None, None]
        mask_BRF = mask_BFR.transpose(1, 2)
        rank = mask_BRF | ~mask_BRF.any(-1, keepdim=True)
        return cls(frames, R, video, frame, rank.reshape(B * R, 1, 1, frames))


class DividedSpaceAttention(nn.Module):
    """[CLS] attends to everything, a region to [CLS] and the regions of its own frame.

    Frames are taken as a batch, so no mask over pairs of regions is ever made.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_BSD: Tensor, keys: Keys) -> Tensor:
        """Attention over tokens [B, 1+F*R, D]; masked regions are no keys."""
        qkv = self.qkv(tokens_BSD)
        if keys.frames == 1:
            return self.proj(_attention(*_by_heads(qkv, self.heads), keys.video))
        B, S, D = tokens_BSD.shape
        q, k, v = _by_heads(qkv, self.heads)
        cls_B1D = _attention(q[:, :, :1], k, v, keys.video)
        by_frame = qkv[:, 1:].unflatten(1, (keys.frames, keys.regions))
        cls = qkv[:, None, :1].expand(-1, keys.frames, -1, -1)
        q, k, v = _by_heads(torch.cat([cls, by_frame], dim=2).flatten(0, 1), self.heads)
        regions_BND = _attention(q[:, :, 1:], k, v, keys.frame).view(B, S - 1, D)
        return self.proj(torch.cat([cls_B1D, regions_BND], dim=1))


class TimeAttention(nn.Module):
    """A region attends to the regions of its rank in all frames, its own among them. [CLS] takes no part.

    The last map starts at zero: a model that was trained without this behaves as it did.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def start_at_zero(self) -> None:
        """The output is 0 until it learns."""
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, regions_BRFD: Tensor, keys: Keys) -> Tensor:
        """Attention over the frames of each rank, [B, R, F, D]; masked regions are no keys."""
        qkv = self.qkv(regions_BRFD).flatten(0, 1)
        return self.proj(_attention(*_by_heads(qkv, self.heads), keys.rank)).view_as(regions_BRFD)


def _by_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B, H, S, d] of ``qkv [B, S, 3*D]``; views, no copies."""
    return qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def _attention(q_BHSd: Tensor, k_BHSd: Tensor, v_BHSd: Tensor, keys: Tensor) -> Tensor:
    out_BHSd = F.scaled_dot_product_attention(q_BHSd, k_BHSd, v_BHSd, attn_mask=keys)
    return out_BHSd.transpose(1, 2).flatten(2)
