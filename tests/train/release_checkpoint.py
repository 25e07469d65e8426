"""Made-up checkpoints in the exact layout of the authors' released ones: names, prefixes, and what lies beside them.

Letters: F frames, R regions a frame, D width, E joint width, V feature width.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """Sizes of a released model; the defaults are tiny."""

    width: int = 128
    depth: int = 2
    frames: int = 4
    regions: int = 5
    feature_dim: int = 12
    joint_dim: int = 16
    vocabulary: int = 18
    text_width: int = 64
    text_depth: int = 2
    text_hidden: int = 96
    positions: int = 104


BASE = Sizes(768, 12, 1, 30, 2048, 256, 30522, 768, 6, 3072, 512)


def released_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of a released model and its shape, those that its forward pass never reads included."""
    D, T, H = sizes.width, sizes.text_width, sizes.text_hidden
    shapes: dict[str, tuple[int, ...]] = {
        "text_model.embeddings.position_ids": (1, sizes.positions),
        "text_model.embeddings.word_embeddings.weight": (sizes.vocabulary, T),
        "text_model.embeddings.position_embeddings.weight": (sizes.positions, T),
        **_affine("text_model.embeddings.LayerNorm", T),
    }
    for i in range(sizes.text_depth):
        layer = f"text_model.transformer.layer.{i}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _affine(f"{layer}.attention.{name}", T, T)
        shapes |= _affine(f"{layer}.sa_layer_norm", T)
        shapes |= _affine(f"{layer}.ffn.lin1", H, T) | _affine(f"{layer}.ffn.lin2", T, H)
        shapes |= _affine(f"{layer}.output_layer_norm", T)
    shapes |= {
        "object_model.cls_token": (1, 1, D),
        "object_model.custom_pos_embed": (1, sizes.regions + 1, D),
        "object_model.temporal_embed": (1, sizes.frames, D),
    }
    for i in range(sizes.depth):
        block = f"object_model.blocks.{i}"
        shapes |= _affine(f"{block}.norm1", D) | _affine(f"{block}.norm2", D) | _affine(f"{block}.norm3", D)
        shapes |= _affine(f"{block}.attn.qkv", 3 * D, D) | _affine(f"{block}.attn.proj", D, D)
        shapes |= _affine(f"{block}.mlp.fc1", 4 * D, D) | _affine(f"{block}.mlp.fc2", D, 4 * D)
    shapes |= _affine("object_model.norm", D)
    shapes |= _affine("object_model.object_embedding", D, sizes.feature_dim)
    shapes |= _affine("object_model.pos_embedding", D, 6)
    shapes["object_model.proj.weight"] = (sizes.joint_dim, D)
    return shapes | _affine("txt_proj.1", sizes.joint_dim, T)


def _affine(name: str, rows: int, columns: int | None = None) -> dict[str, tuple[int, ...]]:
    weight = (rows,) if columns is None else (rows, columns)
    return {f"{name}.weight": weight, f"{name}.bias": (rows,)}


def released_state(sizes: Sizes, seed: int = 0) -> OrderedDict[str, Tensor]:
    """Random weights, large enough that attention is far from even, and none of them zero or one throughout."""
    generator = torch.Generator().manual_seed(seed)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, shape in released_shapes(sizes).items():
        if name.endswith("position_ids"):
            state[name] = torch.arange(shape[1])[None]
            continue
        noise = torch.randn(shape, generator=generator)
        if name.endswith(".weight") and len(shape) == 1:
            state[name] = 1 + 0.2 * noise
        elif name.endswith(".weight") and len(shape) == 2:
            state[name] = noise * 1.5 / math.sqrt(shape[1])
        else:
            state[name] = 0.3 * noise
    for name in ("object_model.cls_token", "object_model.custom_pos_embed"):
        state[name] = (state[name] * 1024).round() / 1024  # their sum is exact in float32, too
    return state


def write_released(path: Path, state: dict[str, Tensor], config: Any = None, zipped: bool = True) -> None:
    """Saves as the authors' trainer does: the ranks' prefix, an optimizer's state and the program's config object.

    The config object's class exists while the file is written only.
    """
    program, own = _config_object()
    learner = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-4)
    learner(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tree = {
        "arch": "FrozenInTime", "epoch": 50, "optimizer": optimizer.state_dict(), "monitor_best": np.float64(0.5),
        "config": config or own, "state_dict": OrderedDict((f"module.{name}", state[name]) for name in state),
    }  # fmt: skip
    sys.modules[program.__name__] = program
    try:
        torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    finally:
        del sys.modules[program.__name__]


def _config_object() -> tuple[ModuleType, Any]:
    """The module ``parse_config`` of the authors' program, which nobody here has, and an object of its class."""
    program = ModuleType("parse_config")
    program.ConfigParser = type("ConfigParser", (), {"__module__": program.__name__})
    config = program.ConfigParser()
    config._config = OrderedDict(name="released", optimizer={"type": "AdamW", "args": {"lr": 2e-4}})
    config.resume, config._save_dir, config.logger = None, Path("exps/released"), logging.getLogger("trainer")
    config.log_levels = defaultdict(int, {0: logging.WARNING})
    return program, config
