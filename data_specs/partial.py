"""Some frames of a stored sample, under the same contract as the whole: the bytes of the others are not read."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_specs.regions import Regions, RegionsError, check_array, check_count
from data_specs.samples import (
    MAX_MEMBER_BYTES,
    REGIONS_SUFFIX,
    Sample,
    SampleError,
    check_described,
    check_features_shape,
    check_tensor_names,
    decode_metadata,
)
from data_specs.tensor_layout import LayoutError, Place, declared_shape, header_bytes, parse_header, tensor_places

_HEAD_BYTES = 16 << 10  # holds header, boxes, scores and labels of 8 frames of 30 regions: one read in place of five


class Stored(Protocol):
    """The bytes of a member, read as they are asked for."""

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop``."""

    def read_into(self, start: int, out: NDArray) -> None:
        """Fills ``out``, which is contiguous, from byte ``start`` on."""


def decode_frames(
    key: str, regions: Stored, metadata: bytes, choose: Callable[[int], NDArray[np.int64]], out: NDArray[np.float16]
) -> Sample:
    """The sample as if it had been stored with fewer frames, and fewer regions a frame.

    ``choose`` gets the number of stored frames and says which to take, in order: no more than ``out`` has room for.
    ``out`` is float16 [F, R, V]: features are read straight into it, the first R regions of each frame taken, and the
    result's ``regions.features`` is the part of it that they fill. What is not taken is not read, so not checked.

    Raises:
        SampleError: what is taken breaks the contract, or features are not V wide.
    """
    described = decode_metadata(key, metadata)
    head = regions.read(0, min(regions.size, _HEAD_BYTES))
    places = _places(key, regions, head)
    stored_f, stored_r, width = places["features"].shape
    check_described(key, described, stored_f)
    if width != out.shape[2]:
        raise SampleError(key, "features", f"{width} wide, those of the others are {out.shape[2]}")
    chosen, most = choose(stored_f), min(stored_r, out.shape[1])
    rows = slice(chosen[0], chosen[0] + 1) if len(chosen) == 1 else chosen  # a slice copies nothing
    try:
        arrays = {name: _small(regions, head, place)[rows] for name, place in places.items() if name != "features"}
        check_count(arrays["count"], stored_r)
        arrays = {name: array[:, :most] for name, array in arrays.items() if name != "count"} | {
            "count": np.minimum(arrays["count"], most)
        }
        features = out[: len(chosen), :most]
        for row, frame in zip(features, chosen, strict=True):
            frame_bytes = stored_r * width * features.itemsize
            regions.read_into(places["features"].start + int(frame) * frame_bytes, row)
        found = Regions(features=features, **arrays)
    except RegionsError as error:
        raise SampleError(key, error.field, str(error)) from None
    timestamps = tuple(described["timestamps"][frame] for frame in chosen)
    return Sample(**described | {"timestamps": timestamps}, regions=found)


def _places(key: str, regions: Stored, head: bytes) -> dict[str, Place]:
    """Where the sample's tensors lie, their names, types and shapes checked."""
    if regions.size > MAX_MEMBER_BYTES:
        raise SampleError(key, REGIONS_SUFFIX, f"{regions.size} bytes, at most {MAX_MEMBER_BYTES} are read")
    try:
        length = header_bytes(head)
        if length > len(head):
            head = regions.read(0, min(regions.size, length))
        return _checked_places(head[:length], regions.size)
    except LayoutError as error:
        raise SampleError(key, error.tensor or REGIONS_SUFFIX, str(error)) from None
    except SampleError as error:
        raise SampleError(key, error.field, error.problem) from None
    except RegionsError as error:
        raise SampleError(key, error.field, str(error)) from None


@lru_cache(64)  # samples of one shape have one header: it is looked at once
def _checked_places(header: bytes, size: int) -> dict[str, Place]:
    parsed = parse_header(header)
    check_features_shape("", declared_shape(parsed, "features"))
    places = tensor_places(parsed, len(header), size)
    check_tensor_names("", places)
    for name, place in places.items():
        check_array(name, place.dtype, place.shape, places["features"].shape)
    return places


def _small(regions: Stored, head: bytes, place: Place) -> NDArray:
    """A whole tensor, from what is read already where that holds it."""
    raw = head[place.start : place.stop] if place.stop <= len(head) else regions.read(place.start, place.stop)
    return np.frombuffer(raw, place.dtype).reshape(place.shape)
