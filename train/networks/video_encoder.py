"""The video encoder E_V: regions of a few frames to one vector a region and one for the video.

Letters: B videos, F frames, R regions a frame, N = F*R, D width, H heads, d = D/H, E joint width, V feature width,
K box width, S = 1 + N tokens with [CLS] first. Source: arXiv 2203.07720; blocks are those of ViT (arXiv 2010.11929).
Names of parameters follow timm's ViT, so that its weights load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import ModelConfig

_NORM_EPS = 1e-6  # timm's ViT
_INIT_STD = 0.02


class DividedSpaceAttention(nn.Module):
    """[CLS] attends to everything, a region to [CLS] and the regions of its own frame.

    Frames are taken as a batch, so no mask over pairs of regions is ever made.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_BSD: Tensor, mask_BFR: Tensor) -> Tensor:
        """Attention over tokens [B, 1+F*R, D]; masked regions are no keys. [CLS] is always a key, so none gives NaN."""
        B, S, D = tokens_BSD.shape
        q, k, v = self.qkv(tokens_BSD).view(B, S, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        keys_B11S = F.pad(mask_BFR.flatten(1), (1, 0), value=True)[:, None, None, :]
        if mask_BFR.shape[1] == 1:
            out_BHSd = F.scaled_dot_product_attention(q, k, v, attn_mask=keys_B11S)
        else:
            cls_BH1d = F.scaled_dot_product_attention(q[:, :, :1], k, v, attn_mask=keys_B11S)
            out_BHSd = torch.cat([cls_BH1d, _within_frames(q, k, v, mask_BFR)], dim=2)
        return self.proj(out_BHSd.transpose(1, 2).reshape(B, S, D))


def _within_frames(q_BHSd: Tensor, k_BHSd: Tensor, v_BHSd: Tensor, mask_BFR: Tensor) -> Tensor:
    B, H, _, d = q_BHSd.shape
    _, frames, R = mask_BFR.shape

    def by_frame(tokens_BHSd: Tensor) -> Tensor:
        return tokens_BHSd[:, :, 1:].view(B, H, frames, R, d).transpose(1, 2).reshape(B * frames, H, R, d)

    def with_cls(tokens_BHSd: Tensor) -> Tensor:
        cls = tokens_BHSd[:, None, :, :1].expand(B, frames, H, 1, d).reshape(B * frames, H, 1, d)
        return torch.cat([cls, by_frame(tokens_BHSd)], dim=2)

    keys = F.pad(mask_BFR.reshape(B * frames, R), (1, 0), value=True)[:, None, None, :]
    out = F.scaled_dot_product_attention(by_frame(q_BHSd), with_cls(k_BHSd), with_cls(v_BHSd), attn_mask=keys)
    return out.view(B, frames, H, R, d).transpose(1, 2).reshape(B, H, frames * R, d)


class Mlp(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens_BSD)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = DividedSpaceAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, tokens_BSD: Tensor, mask_BFR: Tensor) -> Tensor:
        tokens_BSD = tokens_BSD + self.attn(self.norm1(tokens_BSD), mask_BFR)
        return tokens_BSD + self.mlp(self.norm2(tokens_BSD))


class VideoEncoder(nn.Module):
    """``x = W_o features + W_l boxes + P_f`` with [CLS] in front, transformer blocks, a linear map to E.

    There is no position within a frame beyond the box and no norm before the last map.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.feature_dim, self.box_dim, self.frames = config.feature_dim, config.box_dim, config.frames
        self.object_embedding = nn.Linear(config.feature_dim, config.width)
        self.pos_embedding = nn.Linear(config.box_dim, config.width)
        self.temporal_embed = nn.Parameter(torch.zeros(1, config.frames, config.width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.proj = nn.Linear(config.width, config.joint_dim, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.cls_token, std=_INIT_STD)  # temporal rows that are never trained stay zero
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, batch: RegionBatch) -> Tensor:
        """Joint-space vectors [B, 1+F*R, E], [CLS] first, frame after frame; not normalised.

        Raises:
            InputError: the batch has another feature or box width, or more frames than the model is made for.
        """
        self._check(batch)
        B, frames, R, _ = batch.features_BFRV.shape
        features_BFRV = batch.features_BFRV.to(self.object_embedding.weight.dtype)
        tokens = self.object_embedding(features_BFRV) + self.pos_embedding(batch.boxes_BFRK)
        tokens = tokens + self.temporal_embed[:, :frames, None]
        tokens_BSD = torch.cat([self.cls_token.expand(B, -1, -1), tokens.view(B, frames * R, -1)], dim=1)
        for block in self.blocks:
            tokens_BSD = block(tokens_BSD, batch.mask_BFR)
        return self.proj(tokens_BSD)

    def _check(self, batch: RegionBatch) -> None:
        _, frames, _, width = batch.features_BFRV.shape
        if width != self.feature_dim:
            raise InputError(f"features are {width} wide, the model reads {self.feature_dim} (model.feature_dim)")
        if batch.boxes_BFRK.shape[-1] != self.box_dim:
            raise InputError(f"boxes have {batch.boxes_BFRK.shape[-1]} numbers, the model reads {self.box_dim}")
        if frames > self.frames:
            raise InputError(f"{frames} frames a video, the model is made for at most {self.frames} (model.frames)")
