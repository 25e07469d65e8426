"""Reads an ImageNet ViT in timm's names into the video transformer.

Letters: D width, P rows of the position table.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data_specs.errors import InputError
from train.networks.video_encoder import VideoEncoder

_CLS, _POSITIONS = "cls_token", "pos_embed"
_ACROSS_FRAMES = (".norm3.", ".timeattn.")  # an image has no frames
_WRAPPERS = ("state_dict", "model")


def load_vit(encoder: VideoEncoder, path: Path) -> list[str]:
    """Copies blocks and [CLS] of a ViT file (.safetensors, or .pth/.bin read with ``weights_only``) into ``encoder``.

    [CLS] starts as the file's ``cls_token [1, 1, D]`` plus its row of ``pos_embed [1, P, D]``, the first one; a table
    of patches alone has none. Returns the names in the file that have no place here (patch embedding, head, last norm).

    Raises:
        InputError: the file is absent or broken, or is no ViT of this width and depth. Sizes are compared before the
            tensors of a .safetensors file take memory.
    """
    shapes, read = _open(path)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in encoder.state_dict().items()
        if name == _CLS or (name.startswith("blocks.") and not any(part in name for part in _ACROSS_FRAMES))
    }
    taken = [name for name in shapes if name.startswith("blocks.") or name == _CLS]
    found = {name: shapes[name] for name in taken}
    rows = shapes.get(_POSITIONS, ())
    has_row = len(rows) == 3 and math.isqrt(rows[1]) ** 2 != rows[1]
    if has_row:
        found[_POSITIONS], expected[_POSITIONS] = rows, (1, rows[1], expected[_CLS][2])
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        there, wanted = (list(sizes[wrong[0]]) if wrong[0] in sizes else "absent" for sizes in (found, expected))
        raise InputError(
            f"{path}: not a ViT of this model's width and depth: {wrong[0]} is {there} in the file, {wanted} in the"
            " model"
        )
    values = {name: read(name) for name in taken}
    if has_row:
        values[_CLS] = values[_CLS] + read(_POSITIONS)[:, :1]
    encoder.load_state_dict(values, strict=False)
    return sorted(set(shapes) - set(taken))


def _open(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """Shapes of all tensors, and what reads one of them."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of ViT weights (model.vit_weights); a timm ViT-B/16 file goes there")
    try:
        if path.suffix == ".safetensors":
            file = safe_open(path, "pt")
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, file.get_tensor  # noqa: SIM118
        tensors = _unwrapped(torch.load(path, map_location="cpu", weights_only=True), path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as weights alone: {detail}") from None
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__


def _unwrapped(tree: object, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    if not isinstance(tree, dict):
        raise InputError(f"{path}: holds no state dict")
    return {name: tensor for name, tensor in tree.items() if isinstance(tensor, Tensor)}
