"""Some frames of a sample against the whole of it, and headers that lie."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from data_specs.partial import decode_frames
from data_specs.regions import Regions
from data_specs.samples import Sample, SampleError, decode_sample, encode_sample

FRAMES, REGIONS, WIDTH = 5, 4, 2500  # features of 100 KB: more than is read at once


class Counted:
    """A member in memory that knows how much of it was read."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size, self.taken = data, len(data), 0

    def read(self, start: int, stop: int) -> bytes:
        assert 0 <= start <= stop <= self.size
        self.taken += stop - start
        return self._data[start:stop]

    def read_into(self, start: int, out: NDArray) -> None:
        out.view(np.uint8).reshape(-1)[:] = np.frombuffer(self.read(start, start + out.nbytes), np.uint8)


def make_sample(counts: tuple[int, ...] = (4, 3, 4, 0, 2), width: int = WIDTH) -> Sample:
    rng, frames = np.random.default_rng(0), len(counts)
    mask = np.arange(REGIONS) < np.array(counts).reshape(-1, 1)
    corner, size = rng.random((frames, REGIONS, 2)) / 2, rng.random((frames, REGIONS, 2)) / 2
    boxes = np.concatenate([corner, corner + size, size, size.prod(-1, keepdims=True)], -1)
    regions = Regions(
        features=(rng.standard_normal((frames, REGIONS, width)) * mask[..., None]).astype(np.float16),
        boxes=(boxes * mask[..., None]).astype(np.float32),
        scores=(-np.sort(-rng.random((frames, REGIONS))) * mask).astype(np.float32),
        labels=np.where(mask, 3, -1).astype(np.int32),
        count=np.array(counts, np.int32),
    )
    times = tuple(float(t) for t in range(frames))
    return Sample("v", "train", "video", ("one", "two"), (), times, (48, 64), regions)


def members(sample: Sample, **changed: NDArray) -> tuple[bytes, bytes]:
    regions, metadata = encode_sample(sample).values()
    return save(load(regions) | changed) if changed else regions, metadata


def take(
    regions: bytes | Counted, metadata: bytes, frames: list[int], most: int = REGIONS, width: int = WIDTH
) -> Sample:
    member = regions if isinstance(regions, Counted) else Counted(regions)
    out = np.full((len(frames), most, width), 7, np.float16)
    return decode_frames("v", member, metadata, lambda stored: np.array(frames, np.int64), out)


@given(st.sets(st.integers(0, FRAMES - 1)).map(sorted), st.integers(1, REGIONS + 2))
def test_what_is_taken_is_what_the_whole_has(frames: list[int], most: int) -> None:
    sample = make_sample()
    whole, found = decode_sample("v", *members(sample)), take(*members(sample), frames, most)
    assert (found.captions, found.id, found.timestamps) == (whole.captions, "v", tuple(map(float, frames)))
    for name, array in whole.regions.arrays().items():
        expected = np.minimum(array[frames], most) if name == "count" else array[frames][:, :most]
        np.testing.assert_array_equal(getattr(found.regions, name), expected)
        assert getattr(found.regions, name).dtype == array.dtype


def test_other_frames_are_not_read() -> None:
    sample = make_sample()
    regions, metadata = members(sample)
    one = Counted(regions)
    take(one, metadata, [2])
    assert one.taken == (16 << 10) + REGIONS * WIDTH * 2
    fewer = Counted(regions)
    take(fewer, metadata, [2], most=1)
    assert fewer.taken == (16 << 10) + WIDTH * 2


@pytest.mark.parametrize(
    ("field", "broken", "frame"),
    [
        ("features", np.nan, 1),
        ("boxes", 1.5, 1),
        ("boxes", np.inf, 1),
        ("scores", 2.0, 1),
        ("labels", -3, 1),
        ("labels", 5, 3),  # where no region is
        ("count", 9, 1),
    ],
)
def test_a_broken_frame_is_refused_by_field_when_it_is_taken(field: str, broken: float, frame: int) -> None:
    sample = make_sample()
    array = getattr(sample.regions, field).copy()
    array[frame] = broken
    regions, metadata = members(sample, **{field: array})
    with pytest.raises(SampleError) as caught:
        take(regions, metadata, [0, frame])
    with pytest.raises(SampleError) as whole:
        decode_sample("v", regions, metadata)
    assert caught.value.field == whole.value.field == field
    if field != "count":
        take(regions, metadata, [0, 2])  # not read, so not known


def test_wrong_types_shapes_and_tensors_are_refused_by_field() -> None:
    sample = make_sample()
    for field, array in (
        ("boxes", sample.regions.boxes[..., :6].copy()),
        ("scores", sample.regions.scores[:, :3].copy()),
        ("features", sample.regions.features.astype(np.float32)),
        ("regions.safetensors", None),
    ):
        changed = {"labels2": np.zeros(3, np.int32)} if array is None else {field: array}
        with pytest.raises(SampleError) as caught:
            take(*members(sample, **changed), [0])
        assert caught.value.field == field
    with pytest.raises(SampleError, match=r"features: 2500 wide, those of the others are 9"):
        take(*members(sample), [0], width=9)
    with pytest.raises(SampleError, match="timestamps"):
        take(members(sample)[0], members(make_sample((1, 1)))[1], [0])


def header_of(regions: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", regions[:8])
    return json.loads(regions[8 : 8 + length]), regions[8 + length :]


def with_header(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


@pytest.mark.parametrize(
    ("tensor", "key", "value"),
    [
        ("features", "shape", [1 << 40, 4, 2500]),
        ("features", "shape", [-1, 4, 2500]),
        ("features", "shape", [5, 4, 1e400]),
        ("features", "shape", [5, 4]),
        ("features", "shape", [5, 4, 65536]),
        ("features", "data_offsets", [0, 1 << 60]),
        ("features", "data_offsets", [-8, 8]),
        ("features", "data_offsets", "no"),
        ("features", "dtype", "F64"),
        ("features", "dtype", ["F16"]),
        ("boxes", "shape", [5, 4, 1 << 50]),
        ("boxes", "data_offsets", [8, 568]),
        ("count", "shape", "five"),
        ("count", "shape", None),
        ("features", "shape", [10**4299, 4, 2500]),
        ("features", "shape", [5, 4, True]),
        ("features", "shape", ["5", 4, 2500]),
        ("scores", "shape", [9] * 200_000),
        ("scores", "data_offsets", [0, 10**4299]),
        ("scores", "data_offsets", [-(10**4299), 10**16]),
        ("scores" * 20_000, "shape", [1]),
    ],
)
def test_headers_that_lie_take_no_memory(tensor: str, key: str, value: Any) -> None:
    regions, metadata = members(make_sample())
    header, rest = header_of(regions)
    header.setdefault(tensor, {"dtype": "F32", "data_offsets": [0, 4]})[key] = value
    lying = Counted(with_header(json.dumps(header).encode(), rest))
    with pytest.raises(SampleError) as some:
        take(lying, metadata, [0])
    assert lying.taken <= max(16 << 10, len(json.dumps(header)) * 2)
    with pytest.raises(SampleError) as whole:
        decode_sample("v", with_header(json.dumps(header).encode(), rest), metadata)
    assert max(len(str(some.value)), len(str(whole.value))) < 500 and "\n" not in f"{some.value}{whole.value}"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\xff" * 100,
        struct.pack("<Q", 1 << 20) + b"{",
        *(with_header(header, b"") for header in (b"[]", b"{}", b"7", b"[" * 90000, b"9" * 5000, b'{"features": 1}')),
    ],
)
def test_what_is_no_header(raw: bytes) -> None:
    with pytest.raises(SampleError) as caught:
        take(raw, members(make_sample())[1], [0])
    assert caught.value.key == "v" and caught.value.field in ("regions.safetensors", "features")


def test_a_cut_member_and_one_with_bytes_behind_it() -> None:
    regions, metadata = members(make_sample())
    for changed in (regions[:-1], regions + b"\0"):
        with pytest.raises(SampleError, match="tensors end at byte"):
            take(changed, metadata, [0])


def test_a_long_header_is_read_to_its_end() -> None:
    regions, metadata = members(make_sample())
    header, rest = header_of(regions)
    padded = json.dumps(header).encode() + b" " * 20000
    assert take(with_header(padded, rest), metadata, [1]).regions.count.tolist() == [3]
