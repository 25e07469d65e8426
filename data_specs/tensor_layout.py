"""Where the tensors of a safetensors member lie: its header, with every bound checked before anything takes memory."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_specs.errors import brief

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSIONS, _MAX_NUMBER = 3, 1 << 40
_DTYPES = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32), "I32": np.dtype(np.int32)}


class LayoutError(ValueError):
    """A header breaks the format, or a tensor of it does; ``tensor`` names that one, if it is one."""

    def __init__(self, problem: str, tensor: str = "") -> None:
        super().__init__(brief(problem))
        self.tensor = brief(tensor)


@dataclass(frozen=True)
class Place:
    """One tensor: its type and shape, and the byte of the member that it starts at."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """The byte behind its last one."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def header_bytes(head: bytes) -> int:
    """How long the header is, its own length's eight bytes included; ``head`` is the first bytes of the member.

    Raises:
        LayoutError: longer than any header of ours could be.
    """
    try:
        (length,) = struct.unpack("<Q", head[:_LENGTH_BYTES])
    except struct.error as error:
        raise LayoutError(f"not a safetensors header: {error}") from None
    if length > _MAX_HEADER_BYTES:
        raise LayoutError(f"not a safetensors header: header of {length} bytes")
    return _LENGTH_BYTES + length


def parse_header(head: bytes) -> dict[str, Any]:
    """The header as JSON, unchecked; ``head`` holds at least all of it.

    Raises:
        LayoutError: it is no JSON object.
    """
    try:
        found = json.loads(head[_LENGTH_BYTES : header_bytes(head)], parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, LayoutError) else LayoutError(f"not a safetensors header: {error}") from None
    if not isinstance(found, dict):
        raise LayoutError("not a safetensors header: no JSON object")
    return found


def declared_shape(header: dict[str, Any], tensor: str) -> tuple[int, ...]:
    """The shape that a header declares for a tensor.

    Raises:
        LayoutError: there is none, or it is no list of at most three numbers that a member could have.
    """
    try:
        return _numbers(header[tensor]["shape"], _MAX_DIMENSIONS)
    except (KeyError, TypeError, ValueError) as error:
        raise LayoutError(f"not a safetensors header: {type(error).__name__}: {error}", tensor) from None


def tensor_places(header: dict[str, Any], start: int, size: int) -> dict[str, Place]:
    """Where each tensor of a member of ``size`` bytes lies; their bytes begin at ``start``, behind the header.

    Raises:
        LayoutError: a type that shards do not have, numbers that no member could have, or tensors that overlap, leave
            holes or do not end where the member ends.
    """
    places: dict[str, Place] = {}
    for name in header:
        if name == "__metadata__":
            continue
        try:
            dtype = _DTYPES[header[name]["dtype"]]
            begin, end = _numbers(header[name]["data_offsets"], 2)
        except (KeyError, TypeError, ValueError) as error:
            raise LayoutError(f"{type(error).__name__}: {error}", name) from None
        place = Place(dtype, declared_shape(header, name), start + begin)
        if place.stop != start + end:
            raise LayoutError(f"shape {place.shape} does not fill bytes {begin} to {end}", name)
        places[name] = place
    behind = start
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)):
        if place.start != behind:
            raise LayoutError(f"starts at byte {place.start}, the one before ends at {behind}", name)
        behind = place.stop
    if behind != size:
        raise LayoutError(f"tensors end at byte {behind} of {size}")
    return places


def _integer(digits: str) -> int:
    """A number of the header; one of many digits takes long to make, and cannot be printed."""
    if len(digits) > len(str(_MAX_NUMBER)) + 1:  # and a sign
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _numbers(found: object, most: int) -> tuple[int, ...]:
    """Looked at one by one before anything is reckoned with them, or printed."""
    if not isinstance(found, list) or len(found) > most:
        raise ValueError(f"no list of at most {most} numbers")
    if any(type(n) is not int or not 0 <= n <= _MAX_NUMBER for n in found):
        raise ValueError(f"numbers must be whole, 0 to {_MAX_NUMBER}")
    return tuple(found)
