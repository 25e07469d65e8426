"""Samples and shards: what is written comes back, and what breaks the contract is refused by name."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save

from data_specs import atomic, samples
from data_specs.failures import Failure, MediaError, Reason
from data_specs.manifest import Question
from data_specs.regions import BOX_CONVENTION, Regions, RegionsError, boxes_from_corners, corners_from_boxes
from data_specs.samples import Sample, SampleError, decode_sample, encode_sample
from data_specs.shard_index import build_index, read_index, read_labels, write_labels
from data_specs.shards import (
    Provenance,
    ShardError,
    committed,
    iterate_keys,
    iterate_shard,
    read_samples,
    records,
    write_shard,
)

PROVENANCE = Provenance(
    dataset="test", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={}, sampling="none",
    box_convention=BOX_CONVENTION, frames=2, regions=3, feature_dim=4, ffmpeg="none",
)  # fmt: skip


def make_regions(seed: int = 0, counts: tuple[int, ...] = (3, 1)) -> Regions:
    rng = np.random.default_rng(seed)
    frames, most, width = len(counts), 3, 4
    mask = np.arange(most)[None] < np.array(counts)[:, None]
    corners = np.sort(rng.uniform(0, 64, (frames * most, 2, 2)), axis=1).reshape(-1, 4)
    boxes = boxes_from_corners(corners, (48, 64)).reshape(frames, most, 7)
    scores = -np.sort(-rng.uniform(0.1, 1, (frames, most))).astype(np.float32)
    return Regions(
        features=np.where(mask[..., None], rng.normal(size=(frames, most, width)), 0).astype(np.float16),
        boxes=np.where(mask[..., None], boxes, 0).astype(np.float32),
        scores=np.where(mask, scores, 0).astype(np.float32),
        labels=np.where(mask, rng.integers(0, 9, (frames, most)), -1).astype(np.int32),
        count=np.array(counts, np.int32),
    )


def make_sample(identifier: str = "v", captions: tuple[str, ...] = ("a",), seed: int = 0) -> Sample:
    question = Question("what?", "a star", "what", ("a star", "a ring"), 0, "q1")
    return Sample(identifier, "train", "video", captions, (question,), (0.5, 1.5), (48, 64), make_regions(seed))


def same(one: Sample, other: Sample) -> bool:
    fields = [f.name for f in dataclasses.fields(Sample) if f.name != "regions"]
    arrays = one.regions.arrays(), other.regions.arrays()
    return (
        all(getattr(one, name) == getattr(other, name) for name in fields)
        and arrays[0].keys() == arrays[1].keys()
        and all(arrays[0][name].tobytes() == arrays[1][name].tobytes() for name in arrays[0])
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(identifier=TEXT, captions=st.lists(TEXT, max_size=4).map(tuple), seed=st.integers(0, 99))
def test_round_trip(identifier: str, captions: tuple[str, ...], seed: int) -> None:
    sample = make_sample(identifier, captions, seed)
    regions, metadata = encode_sample(sample).values()
    assert same(decode_sample(sample.key, regions, metadata), sample)
    assert list(encode_sample(sample).values()) == [regions, metadata]


def members(
    change_json: Callable[[dict], Any] | None = None, **changed_arrays: np.ndarray | None
) -> tuple[bytes, bytes]:
    sample = make_sample()
    arrays = {name: a for name, a in {**sample.regions.arrays(), **changed_arrays}.items() if a is not None}
    described = json.loads(encode_sample(sample)["v.json"])
    if change_json is not None:
        change_json(described)
    return save(arrays), json.dumps(described).encode()


ARRAYS = make_regions().arrays()


@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("features", ARRAYS["features"].astype(np.float32)),
        ("features", np.full_like(ARRAYS["features"], np.nan)),
        ("boxes", ARRAYS["boxes"][..., :6]),
        ("boxes", ARRAYS["boxes"] + np.float32(0.8)),
        ("boxes", ARRAYS["boxes"][..., [2, 3, 0, 1, 4, 5, 6]]),
        ("boxes", ARRAYS["boxes"] * np.array([1, 1, 1, 1, 1, 1, 0.5], np.float32)),
        ("scores", ARRAYS["scores"][:, ::-1].copy()),
        ("scores", ARRAYS["scores"] + np.float32(1)),
        ("labels", ARRAYS["labels"] - 5),
        ("labels", np.zeros_like(ARRAYS["labels"])),
        ("count", np.array([3, 4], np.int32)),
        ("count", np.array([3, -1], np.int32)),
        ("regions.safetensors", None),
        ("attribute_scores", np.zeros((2, 3), np.float32)),
    ],
)
def test_broken_arrays_are_refused_by_field(field: str, array: np.ndarray | None) -> None:
    changed = {"labels": None} if array is None else {field: array}
    with pytest.raises(SampleError) as caught:
        decode_sample("v", *members(**changed))
    assert caught.value.field == field or field in str(caught.value)
    assert caught.value.key == "v"


def put(name: str, value: Any) -> Callable[[dict], None]:
    return lambda tree: tree.__setitem__(name, value)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("timestamps", put("timestamps", [0.5])),
        ("timestamps", put("timestamps", [0.5, float("nan")])),
        ("timestamps", put("timestamps", [True, False])),
        ("timestamps", put("timestamps", [10**400, 1])),
        ("frame_size", put("frame_size", [48])),
        ("frame_size", put("frame_size", [0, 64])),
        ("frame_size", put("frame_size", [48, 10**9])),
        ("captions", put("captions", "a")),
        ("captions", put("captions", [None])),
        ("split", put("split", "nonsense")),
        ("media", put("media", "smell")),
        ("id", put("id", "another")),
        ("id", put("id", 7)),
        ("questions", put("questions", [{"question": "q"}])),
        ("questions", lambda tree: tree["questions"][0].update(label=7)),
        ("questions", lambda tree: tree["questions"][0].update(options="abc")),
        ("foreign", put("foreign", 1)),
        ("split", lambda tree: tree.pop("split")),
    ],
)
def test_broken_metadata_is_refused_by_field(field: str, change: Callable[[dict], Any]) -> None:
    with pytest.raises(SampleError, match=field):
        decode_sample("v", *members(change))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b"\xff", b'{"id": "\\ud800"}', b'{"timestamps": [' + b"9" * 5000 + b"]}", b"[" * 100_000]
)
def test_metadata_that_is_no_json_object(raw: bytes) -> None:
    with pytest.raises(SampleError):
        decode_sample("v", members()[0], raw)


def header(shape: str) -> bytes:
    text = ('{"features":{"dtype":"F16","shape":' + shape + ',"data_offsets":[0,0]}}').encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x00" * 8, b"\xff" * 100, header("[8,30,99999999]"), header("[1e400,1,1]"), header("[2]"), header('"x"')],
)
def test_declared_shapes_are_checked_before_memory_is_taken(raw: bytes) -> None:
    with pytest.raises(SampleError, match=r"features|safetensors"):
        decode_sample("v", raw, members()[1])


def test_boxes_and_corners_are_inverse() -> None:
    corners = np.array([[2, 3, 60, 40], [0, 0, 64, 48]], np.float32)
    boxes = boxes_from_corners(corners, (48, 64))
    np.testing.assert_allclose(boxes[1], [0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(boxes[0, 4:], [58 / 64, 37 / 48, 58 * 37 / 64 / 48], rtol=1e-6)
    np.testing.assert_allclose(corners_from_boxes(boxes, (48, 64)), corners, atol=1e-4)


def test_mask_follows_the_count() -> None:
    assert make_regions(counts=(3, 1)).mask.tolist() == [[True] * 3, [True, False, False]]
    with pytest.raises(RegionsError):
        dataclasses.replace(make_regions(), count=np.array([1, 1], np.int32))  # rows past the count are not zero


@pytest.mark.parametrize("field", ["captions", "timestamps", "questions", "options"])
def test_a_bomb_of_wrong_items_is_one_error(field: str) -> None:
    """An error object for each of a million items takes gigabytes."""
    wrong = [[]] * 1000
    change = put(field, wrong) if field != "options" else lambda tree: tree["questions"][0].update(options=wrong)
    regions, metadata = members(change)
    with pytest.raises(ValidationError) as found:
        samples._Metadata.model_validate_json(metadata)
    assert found.value.error_count() == 1
    with pytest.raises(SampleError, match=field):
        decode_sample("v", regions, metadata)


def test_errors_are_short() -> None:
    for change in (put("k" * 100_000, 1), put("id", "x" * 100_000), put("split", "x" * 100_000)):
        with pytest.raises(SampleError) as caught:
            decode_sample("v", *members(change))
        assert len(str(caught.value)) < 500


def test_what_would_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    most = samples.MAX_METADATA_BYTES
    bare = len(encode_sample(make_sample(captions=("",)))["v.json"])
    largest = make_sample(captions=("x" * (most - bare),))
    assert same(decode_sample("v", *encode_sample(largest).values()), largest)
    larger = make_sample(captions=("x" * (most - bare + 1),))
    with pytest.raises(SampleError, match=rf"1 captions and 1 questions are {most + 1} bytes, at most {most} are"):
        encode_sample(larger)
    with pytest.raises(ShardError, match=r"train-00000\.tar: sample v: json: 1 captions and 1 questions"):
        write_shard(tmp_path, "train-00000", [make_sample("a"), larger], "plan", PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def write(folder: Path, name: str = "train-00000", provenance: Provenance = PROVENANCE) -> None:
    results = [make_sample("a"), Failure(id="x", reason=Reason.EMPTY, detail="0 bytes"), make_sample("b.c/d", seed=1)]
    write_shard(folder, name, results, "plan", provenance)


def test_shard_comes_back_and_equal_shards_are_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    tar = tmp_path / "one" / "train-00000.tar"
    assert [sample.id for sample in iterate_shard(tar)] == list(iterate_keys(tar)) == ["a", "b.c/d"]
    assert tar.read_bytes() == (tmp_path / "two" / "train-00000.tar").read_bytes()
    (record,) = records(tmp_path / "one")
    assert (record.num_samples, record.num_regions, [f.id for f in record.failures]) == (2, 8, ["x"])
    assert committed(tmp_path / "one", "train-00000") == record
    index = build_index(tmp_path / "one", [record])
    assert read_index(tmp_path / "one") == index
    assert json.loads((tmp_path / "one" / "index.json").read_text())["__kind__"] == "wids-shard-index-v1"


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def results():
        yield make_sample("a")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_shard(tmp_path, "train-00000", results(), "plan", PROVENANCE)
    assert list(tmp_path.iterdir()) == []
    assert committed(tmp_path, "train-00000") is None


def test_a_cut_or_foreign_tar_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    data = (tmp_path / "train-00000.tar").read_bytes()
    for length in range(100, len(data) - 2048, 1500):
        try:
            found = len(list(read_samples(io.BytesIO(data[:length]), "cut.tar")))
        except (ShardError, SampleError):
            continue
        whole = not data[length:].strip(b"\0")  # only the padding is gone
        assert found < 2 or whole, "cut at a member's border it reads as fewer samples, which the record's count tells"
    foreign = io.BytesIO()
    with tarfile.open(fileobj=foreign, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../etc/passwd"))
    foreign.seek(0)
    with pytest.raises(ShardError, match="unexpected member"):
        list(read_samples(foreign, "foreign.tar"))


def test_links_and_huge_members_are_refused_before_reading() -> None:
    for change in ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, {"size": 1 << 40}):
        stream = io.BytesIO()
        info = tarfile.TarInfo("v.regions.safetensors")
        for name, value in change.items():
            setattr(info, name, value)
        stream.write(info.tobuf())
        stream.seek(0)
        with pytest.raises(ShardError, match="not a plain file"):
            list(read_samples(stream, "evil.tar"))


def test_mixed_provenance_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "train-00001", PROVENANCE.model_copy(update={"detector": "another"}))
    with pytest.raises(ShardError, match=r"detector: 'none' and 'another'"):
        build_index(tmp_path, records(tmp_path))


def test_a_record_without_its_tar_counts_for_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    shutil.copy(tmp_path / "train-00000.json", tmp_path / "train-00001.json")
    assert committed(tmp_path, "train-00001") is None  # it describes another shard
    (tmp_path / "train-00000.tar").unlink()
    assert committed(tmp_path, "train-00000") is None


def test_labels_round_trip(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == ()
    write_labels(tmp_path, ("red star", "blåer Ring"))
    assert read_labels(tmp_path) == ("red star", "blåer Ring")


def test_atomic_writing_keeps_the_old_file_on_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    leftover = tmp_path / f".other.123{atomic.TEMPORARY_SUFFIX}"
    leftover.touch()
    assert atomic.remove_leftovers(tmp_path) == [leftover]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_details_of_failures_do_not_change_from_run_to_run() -> None:
    one, other = (
        MediaError(Reason.DECODE_ERROR, f"[h264 @ {a}] bad; file:/dev/fd/{n}: x") for a, n in (("0x1f", 3), ("0x2e", 9))
    )
    assert one.detail == other.detail == "[h264] bad; x"
