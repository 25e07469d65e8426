"""The video encoder E_V: regions of a few frames to one vector a region and one for the video.

Letters: B videos, F frames, R regions a frame, N = F*R, D width, E joint width, V feature width, K box width,
S = 1 + N tokens with [CLS] first. Source: arXiv 2203.07720; blocks are those of ViT (arXiv 2010.11929).
Names of parameters follow timm's ViT, so that its weights load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import ModelConfig
from train.networks.attention import DividedSpaceAttention, Keys, TimeAttention
from train.networks.initial import initial_std

_MIDDLE_BOX = (0.4, 0.4, 0.6, 0.6, 0.2, 0.2, 0.04)
_NORM_EPS = 1e-6  # timm's ViT


class Mlp(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens_BSD)))


class Block(nn.Module):
    """A pre-norm transformer block. ``time_attention``: frames meet, rank by rank, before regions do."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, time_attention: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = DividedSpaceAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.norm3 = nn.LayerNorm(width, eps=_NORM_EPS) if time_attention else None
        self.timeattn = TimeAttention(width, heads) if time_attention else None

    def forward(self, tokens_BSD: Tensor, keys: Keys) -> Tensor:
        """Tokens [B, 1+F*R, D] to tokens of the same shape."""
        if self.timeattn is not None:
            tokens_BSD = tokens_BSD + self._across_frames(tokens_BSD, keys)
        tokens_BSD = tokens_BSD + self.attn(self.norm1(tokens_BSD), keys)
        return tokens_BSD + self.mlp(self.norm2(tokens_BSD))

    def _across_frames(self, tokens_BSD: Tensor, keys: Keys) -> Tensor:
        regions_BRFD = tokens_BSD[:, 1:].unflatten(1, (keys.frames, keys.regions)).transpose(1, 2)
        change_BRFD = self.timeattn(self.norm3(regions_BRFD), keys)
        return F.pad(change_BRFD.transpose(1, 2).flatten(1, 2), (0, 0, 1, 0))  # none for [CLS]


class VideoEncoder(nn.Module):
    """``x = W_o features + W_l boxes + P_f`` with [CLS] in front, transformer blocks, a linear map to E.

    There is no position within a frame beyond the box and no norm before the last map. ``checkpoint_activations``: what
    a block computes is not kept but computed again in the backward pass.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.feature_dim, self.box_dim, self.frames = config.feature_dim, config.box_dim, config.frames
        self.object_embedding = nn.Linear(config.feature_dim, config.width)
        self.pos_embedding = nn.Linear(config.box_dim, config.width) if config.box_dim else None
        self.temporal_embed = nn.Parameter(torch.zeros(1, config.frames, config.width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.time_attention) for _ in range(config.depth)
        )
        self.proj = nn.Linear(config.width, config.joint_dim, bias=False)
        self.checkpoint_activations = False
        self._initialise(config.box_std)

    def _initialise(self, box_std: float) -> None:
        """box_std: a box is a few fractions, and what tells left from right would drown in the features."""
        std = initial_std(self.proj.in_features)
        nn.init.trunc_normal_(self.cls_token, std=std)  # temporal rows that are never trained stay zero
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.pos_embedding is not None:
            nn.init.normal_(self.pos_embedding.weight, std=box_std)
            middle_K = torch.tensor(_MIDDLE_BOX[: self.box_dim])
            with torch.no_grad():  # a region in the middle begins at 0, or what all have in common would drown the rest
                self.pos_embedding.bias.copy_(-self.pos_embedding.weight @ middle_K)
        for module in self.modules():
            if isinstance(module, TimeAttention):
                module.start_at_zero()

    def forward(self, batch: RegionBatch) -> Tensor:
        """Joint-space vectors [B, 1+F*R, E], [CLS] first, frame after frame; not normalised.

        Raises:
            InputError: the batch has another feature or box width, or more frames than the model is made for.
        """
        self._check(batch)
        B, frames, R, _ = batch.features_BFRV.shape
        features_BFRV = batch.features_BFRV.to(self._compute_dtype())
        tokens = self.object_embedding(features_BFRV)
        if self.pos_embedding is not None:
            tokens = tokens + self.pos_embedding(batch.boxes_BFRK)
        tokens = tokens + self.temporal_embed[:, :frames, None]
        tokens_BSD = torch.cat([self.cls_token.expand(B, -1, -1), tokens.view(B, frames * R, -1)], dim=1)
        keys, again = Keys.of(batch.mask_BFR), self.checkpoint_activations and torch.is_grad_enabled()
        for block in self.blocks:
            tokens_BSD = checkpoint(block, tokens_BSD, keys, use_reentrant=False) if again else block(tokens_BSD, keys)
        return self.proj(tokens_BSD)

    def _compute_dtype(self) -> torch.dtype:
        """What the first matrix product reads: features are widened once, not to float32 and back."""
        device = self.object_embedding.weight.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.object_embedding.weight.dtype

    def _check(self, batch: RegionBatch) -> None:
        _, frames, _, width = batch.features_BFRV.shape
        if width != self.feature_dim:
            raise InputError(f"features are {width} wide, the model reads {self.feature_dim} (model.feature_dim)")
        if batch.boxes_BFRK.shape[-1] != self.box_dim:
            raise InputError(f"boxes have {batch.boxes_BFRK.shape[-1]} numbers, the model reads {self.box_dim}")
        if frames > self.frames:
            raise InputError(f"{frames} frames a video, the model is made for at most {self.frames} (model.frames)")
