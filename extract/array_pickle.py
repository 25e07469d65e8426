"""Pickles of plain containers and NumPy arrays, and nothing else: published weights, and the ``info`` of npz files.

No function that a pickle names is ever called. The few names that arrays need stand for classes of this file, which
check what they are given and make arrays with ``numpy.frombuffer``; NumPy's own unpickling code is not run. The classes
are sealed, since a pickle may set attributes of what it has named. The opcodes are looked at before any of them runs:
ten bytes can ask for a memo of gigabytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np

_PLAIN_TYPE = re.compile(r"[|<>=]?([biuf]\d{1,2}|O8?|[SU]\d{1,4})")
_DEEPEST = 64
_MOST_PARTS = 1 << 20  # of all containers together, counted as often as they are referred to
_NOT_RUN = frozenset(("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "NEXT_BUFFER"))
_MEMO = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


class ArrayPickleError(ValueError):
    """Not a pickle of plain containers and arrays; the message says what it wants besides."""


def read_array_pickle(source: bytes | IO[bytes], encoding: str = "ASCII") -> Any:
    """What a pickle holds. encoding: of texts that Python 2 wrote.

    Raises:
        ArrayPickleError: it is cut, or holds something else.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        _check_opcodes(stream)
        return _Resolver().resolved(_Unpickler(stream, encoding=encoding).load(), _DEEPEST)
    except _BROKEN as error:
        raise ArrayPickleError(str(error) or type(error).__name__) from None


class _Sealed(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError("the file sets attributes of a class")


class _Type(metaclass=_Sealed):
    """Stands for ``numpy.dtype``: numbers and truth values, texts of a fixed length, and objects in lists."""

    def __init__(self, text: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(text, str) or not _PLAIN_TYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"the file asks for the array type {text!r:.40}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "=", "|") or state[2] is not None or state[3] is not None:
            raise pickle.UnpicklingError("the file asks for a structured array")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(metaclass=_Sealed):
    """Stands for an array that is filled by ``__setstate__``, as NumPy pickles it."""

    def __init__(self, *ignored: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_columns, data = state
        size = int(np.prod([_length(n) for n in shape], dtype=object))
        if kind.dtype.hasobject:
            if not isinstance(data, list) or len(data) != size or len(shape) > 1:
                raise pickle.UnpicklingError("an array of objects is not a list of them")
            self.value = data if shape else data[0]
            return
        self.value = _from_bytes(data, kind.dtype, size).reshape(shape, order="F" if by_columns else "C")


class _Scalar(metaclass=_Sealed):
    """Stands for ``numpy.core.multiarray.scalar``."""

    def __init__(self, kind: _Type, data: bytes) -> None:
        self.value = _from_bytes(data, kind.dtype, 1)[0]


class _FromBuffer(metaclass=_Sealed):
    """Stands for ``numpy.core.numeric._frombuffer``, which protocol 5 uses."""

    def __init__(self, data: bytes, kind: _Type, shape: tuple, order: str) -> None:
        size = int(np.prod([_length(n) for n in shape], dtype=object))
        self.value = _from_bytes(data, kind.dtype, size).reshape(shape, order="F" if order == "F" else "C")


class _Encoded(metaclass=_Sealed):
    """Stands for ``_codecs.encode``: bytes as protocol 2 writes them, a text in Latin-1."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        return text.encode("latin-1") if encoding == "latin1" else b""


class _NoBytes(metaclass=_Sealed):
    """Stands for ``bytes``, by which protocols 0 to 2 write none at all."""

    def __new__(cls) -> bytes:  # type: ignore[misc]
        return b""


class _Marker(metaclass=_Sealed):
    """Stands for ``numpy.ndarray``, which is only ever named."""


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Encoded,
    ("__builtin__", "bytes"): _NoBytes,
    ("builtins", "bytes"): _NoBytes,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _FromBuffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no array needs") from None


def _length(count: object) -> int:
    if not isinstance(count, int) or count < 0:
        raise pickle.UnpicklingError(f"{count!r:.40} is no length")
    return count


def _from_bytes(data: bytes, dtype: np.dtype, size: int) -> np.ndarray:
    if dtype.hasobject or not isinstance(data, (bytes, bytearray)) or len(data) != size * dtype.itemsize:
        raise pickle.UnpicklingError("an array's bytes are not those of its shape")
    return np.frombuffer(data, dtype, size)


def _check_opcodes(stream: IO[bytes]) -> None:
    """Refuses opcodes that no array needs and memo places that no writer takes; leaves the stream where it was."""
    start = stream.tell()
    places = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name in _NOT_RUN:
            raise pickle.UnpicklingError(f"the file uses {opcode.name}, which no array needs")
        places = max(places, int(argument)) if opcode.name in _MEMO else places
        if places > number + 1:
            raise pickle.UnpicklingError(f"the file asks for memo place {places} after {number} steps")
    stream.seek(start)


class _Resolver:
    """Puts arrays in the place of what stood for them, and gives up where a small file unfolds to a large tree."""

    def __init__(self) -> None:
        self._parts = 0

    def resolved(self, value: Any, deepest: int) -> Any:
        self._parts += 1
        if deepest == 0 or self._parts > _MOST_PARTS:
            raise pickle.UnpicklingError("containers are nested too deeply or hold too much")
        if isinstance(value, (_Array, _Scalar, _FromBuffer)):
            return self.resolved(value.value, deepest - 1)
        if isinstance(value, (_Type, _Sealed)):
            return None
        if isinstance(value, dict):
            return {_key(key): self.resolved(held, deepest - 1) for key, held in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([self.resolved(held, deepest - 1) for held in value])
        return value


def _key(key: Any) -> Any:
    return key.value if isinstance(key, _Scalar) else key
