"""Tensors of a checkpoint that others pickled: nothing in the file is run, whatever it holds.

torch's weights-only reader imports no class and calls no function that is not on a list. A checkpoint that carries its
program's configuration names classes of that program; those on ``INERT`` are read as an empty stand-in, so that the
tensors beside them can be had. A file that names anything else is refused.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from data_specs.errors import InputError

# Configuration, paths, loggers and numbers: what training programs put beside their weights.
INERT = frozenset(
    {
        "parse_config.ConfigParser", "parse_config_dist.ConfigParser", "parse_config_dist_multi.ConfigParser",
        "argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict",
        "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
        "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
        "logging.Logger", "logging.RootLogger", "logging.getLogger",
        "datetime.datetime", "datetime.timedelta",
        "builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.list", "builtins.dict",
        "builtins.tuple", "builtins.frozenset", "builtins.slice", "builtins.range", "builtins.object",
        "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    }
)  # fmt: skip
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What reading a damaged or foreign pickle raises, in torch's reader and below it.
_BROKEN = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, RuntimeError, OSError, EOFError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError, NotImplementedError, OverflowError,
)  # fmt: skip


class _StandIn:
    """Takes any arguments and any state, and keeps nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> _StandIn:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def _empty_dict(*_: Any) -> OrderedDict[Any, Any]:
    """Stands in for a dictionary class: the reader puts items into the plain kinds only."""
    return OrderedDict()


def read_state_dict(path: Path, inert: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict of a .pth/.pt/.bin or .safetensors file, and what else stood at its top level.

    inert: further names (``module.Class``) that are read as stand-ins. The tensors are views of the file where its
    format allows: nothing is copied before it is used.

    Raises:
        InputError: the file is absent or damaged, names what is on no list, or has no state dict.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    tree = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path, inert)
    beside: dict[str, Any] = {}
    if isinstance(tree, Mapping):
        wrapper = next((name for name in _WRAPPERS if isinstance(tree.get(name), Mapping)), None)
        if wrapper is not None:
            beside = {str(name): value for name, value in tree.items() if name != wrapper}
            tree = tree[wrapper]
    if not isinstance(tree, Mapping) or not any(isinstance(value, Tensor) for value in tree.values()):
        raise InputError(f"{path}: holds no state dict (names and tensors, at the top or under {_WRAPPERS[0]!r})")
    strange = [str(name) for name, value in tree.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(f"{path}: not every entry of the state dict is a tensor: {', '.join(strange[:8])}")
    return {str(name): value for name, value in tree.items()}, beside


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from None


def _read_pickled(path: Path, inert: Collection[str]) -> Any:
    """Reads with the weights-only unpickler, stand-ins in place of the names on the list."""
    names = sorted(INERT | set(inert))
    known = [(_empty_dict if name == "collections.defaultdict" else _StandIn, name) for name in names]
    try:
        with safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of another pickle protocol: it is read, or refused below
            zipped = zipfile.is_zipfile(path)
            if zipped:
                _check_archive(path)
                if unknown := get_unsafe_globals_in_checkpoint(path):
                    raise _refused(path, unknown)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except _BROKEN as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise _refused(path, [found[1]]) from None
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a checkpoint that torch.save wrote whole; copy it again: {detail}") from None


def _check_archive(path: Path) -> None:
    """Sizes and checksums of the records, before any is used: torch checks neither when it maps a file.

    A record that says it is larger than the file, or is packed, would take memory that the file does not have.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("its records are compressed, which torch.save never does")
        if sum(record.file_size for record in records) > os.path.getsize(path):
            raise ValueError("its records claim more bytes than the file has")
        if damaged := archive.testzip():
            raise ValueError(f"its record {damaged} does not have the checksum that it says")


def _refused(path: Path, names: Collection[str]) -> InputError:
    return InputError(
        f"{path}: refused, nothing in it was run: it names {', '.join(sorted(names))}, which is not on the list of what"
        " a checkpoint may hold. If that is a harmless configuration class, --inert NAME has it read as an empty"
        " stand-in; else do not use this file"
    )
