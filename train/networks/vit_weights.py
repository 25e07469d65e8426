"""Reads an ImageNet ViT in timm's names into the video transformer.

Letters: D width, P rows of the position table.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from data_specs.errors import InputError
from train.networks.video_encoder import VideoEncoder


def load_vit(encoder: VideoEncoder, path: Path) -> list[str]:
    """Copies blocks and [CLS] of a ViT file (.safetensors, or .pth/.bin read with ``weights_only``) into ``encoder``.

    [CLS] starts as the file's ``cls_token [1, 1, D]`` plus the first row of its ``pos_embed [1, P, D]``. Returns the
    names in the file that have no place here (patch embedding, head, last norm).

    Raises:
        InputError: the file is absent or broken, or is no ViT of this width and depth.
    """
    tensors = _read(path)
    taken = {name: tensor for name, tensor in tensors.items() if name.startswith("blocks.")}
    if "cls_token" in tensors:
        row = tensors["pos_embed"][:, :1] if "pos_embed" in tensors else 0
        taken["cls_token"] = tensors["cls_token"] + row
    expected = {
        name: tensor.shape
        for name, tensor in encoder.state_dict().items()
        if name.startswith("blocks.") or name == "cls_token"
    }
    wrong = sorted(expected.keys() ^ taken.keys()) or [n for n in expected if taken[n].shape != expected[n]]
    if wrong:
        name = wrong[0]
        found = list(taken[name].shape) if name in taken else "absent"
        wanted = list(expected[name]) if name in expected else "absent"
        raise InputError(
            f"{path}: not a ViT of this model's width and depth: {name} is {found} in the file, {wanted} in the model"
        )
    encoder.load_state_dict(taken, strict=False)
    return sorted(set(tensors) - set(taken))


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file of ViT weights (model.vit_weights); a timm ViT-B/16 file goes there")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        detail = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be read as weights alone: {detail}") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    if not isinstance(tree, dict):
        raise InputError(f"{path}: holds no state dict")
    return {name: tensor for name, tensor in tree.items() if isinstance(tensor, Tensor)}
