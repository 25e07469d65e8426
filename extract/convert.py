"""Published detector weights to safetensors, once: hash first, then a reader that can make arrays and no more."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.shards import file_sha256
from extract.array_pickle import read_array_pickle

# A pickle of the number with which torch began its files before they were zips.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def convert(source: Path, target: Path, sha256: str) -> int:
    """Converts a ``.pkl`` of detectron2's model zoo or a ``.pth`` to safetensors; returns the number of tensors.

    A ``.pth`` may be of any torch, also from before 1.6. Names, shapes and types stay as they are, buffers too; the
    state may be the whole file or stand under "model" or "state_dict".

    Raises:
        InputError: absent, of another SHA-256 than stated, or not weights.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    found = file_sha256(source)
    if found != sha256.lower():
        raise InputError(f"{source}: SHA-256 is {found}, not {sha256}; give --sha256 as its publisher states it")
    try:
        tree = _read_torch(source) if _is_of_torch(source) else _read_pickle(source)
    except (
        UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RuntimeError,
    ) as error:
        raise InputError(f"{source}: not weights that can be read safely: {error}") from None
    state = tree.get("model", tree.get("state_dict", tree)) if isinstance(tree, dict) else None
    tensors = {str(name): _tensor(value) for name, value in state.items()} if isinstance(state, dict) else {}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if not kept:
        raise InputError(f"{source}: holds no tensors by name")
    with atomic.replacing(target) as temporary:
        save_file(kept, temporary)
    return len(kept)


def _is_of_torch(source: Path) -> bool:
    with source.open("rb") as stream:
        return stream.read(len(_OLD_TORCH)) == _OLD_TORCH or zipfile.is_zipfile(source)


def _read_pickle(source: Path) -> Any:
    with source.open("rb") as stream:
        return read_array_pickle(stream, encoding="latin1")


def _read_torch(source: Path) -> Any:
    return torch.load(source, map_location="cpu", weights_only=True)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    return value.contiguous().clone() if isinstance(value, Tensor) else None
