"""Published detector weights to safetensors, once: hash first, then an unpickler that can make arrays and no more."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.shards import file_sha256

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", name): getattr(np._core.multiarray, name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin-1") if encoding == "latin1" else b"",
}


_OLD_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, 2)  # what torch wrote first, before its files were zips


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain containers and NumPy arrays; any other name in the file stops it."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no weights need") from None


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
        pickle.UnpicklingError,
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
        return ArrayUnpickler(stream, encoding="latin1").load()


def _read_torch(source: Path) -> Any:
    return torch.load(source, map_location="cpu", weights_only=True)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    return value.contiguous().clone() if isinstance(value, Tensor) else None
