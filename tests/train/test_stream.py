"""The stream over small tars made on the fly."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.errors import InputError
from data_specs.shard_index import build_index
from data_specs.shards import INDEX_NAME, file_sha256, read_record, record_path, records
from train.config import DataConfig
from train.stream import Batch, RegionStream, ahead

SIZES = (5, 1, 7, 0, 4)


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), SIZES)


def stream(folder: Path, **changes: Any) -> RegionStream:
    settings = {"shards": [folder], "frames": 2, "regions": 4, "batch_size": 3, "shuffle_window": 4, "seed": 1}
    return RegionStream(DataConfig.model_validate(settings | changes), box_dim=7)


def seen(batches: Iterator[Batch]) -> list[tuple[Any, ...]]:
    """All that a batch holds, comparable."""
    return [(b.keys, b.captions, b.video.features_BFRV.numpy().tobytes()) for b in batches]


def keys(batches: Iterator[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_every_sample_exactly_once_an_epoch(shards: Path) -> None:
    everything = [f"clip%20{i:03d}%2Emp4" for i in range(sum(SIZES))]
    whole = stream(shards, batch_size=17)
    assert sorted(keys(whole.epoch(0))) == everything
    smaller = stream(shards, batch_size=4)
    drawn = keys(smaller.epoch(0))
    assert len(drawn) == len(set(drawn)) == 16 == smaller.batches_per_epoch * 4  # the remainder of one is left out
    assert set(everything) == {key for epoch in range(9) for key in keys(smaller.epoch(epoch))}


def test_the_order_is_a_function_of_seed_and_epoch(shards: Path) -> None:
    first = seen(stream(shards).epoch(3))
    other = stream(shards)
    list(other.epoch(2))  # what was read before does not matter
    assert seen(other.epoch(3)) == first
    assert seen(other.epoch(4)) != first
    assert seen(stream(shards, seed=2).epoch(3)) != first


@pytest.mark.parametrize("window", [1, 4, 100])
def test_any_start_gives_the_tail_of_the_same_epoch(shards: Path, window: int) -> None:
    whole = seen(stream(shards, shuffle_window=window).epoch(5))
    assert len(whole) == 5
    for start in range(6):
        assert seen(stream(shards, shuffle_window=window).epoch(5, start)) == whole[start:]


def test_shards_before_the_start_are_not_read(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, (3, 3, 3))
    settings = {"batch_size": 3, "shuffle_window": 1}
    first = next(stream(folder, **settings).epoch(0))
    rest = stream(folder, **settings)
    number = int(first.keys[0][len("clip%20") :][:3]) // 3
    damage(folder / f"train-{number:05d}.tar", lambda data: bytes(len(data)))
    assert len(list(rest.epoch(0, 1))) == 2
    with pytest.raises(InputError):
        list(rest.epoch(0))


def test_captions_and_frames_vary_between_epochs(shards: Path) -> None:
    source = stream(shards, batch_size=17)
    captions = [{c for b in source.epoch(e) for c in b.captions} for e in range(2)]
    assert captions[0] != captions[1]
    assert all(any("moves" in c for c in found) and any("moves" not in c for c in found) for found in captions)


def test_a_data_set_smaller_than_the_batch_is_one_batch(shards: Path) -> None:
    source = stream(shards, batch_size=100)
    assert (source.batch_size, source.batches_per_epoch) == (17, 1)


def test_thread_ahead_gives_the_same_and_passes_errors_on(shards: Path) -> None:
    assert seen(ahead(stream(shards).epoch(0))) == seen(stream(shards).epoch(0))

    def broken() -> Iterator[int]:
        yield 1
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        list(ahead(broken()))


def damage(tar: Path, change: Callable[[bytes], bytes]) -> None:
    tar.chmod(0o644)
    tar.write_bytes(change(tar.read_bytes()))


def recommit(folder: Path, name: str, **changes: Any) -> None:
    """Makes the record and the index of a changed tar agree with it, as a forger or a bug would."""
    tar = folder / f"{name}.tar"
    record = read_record(record_path(folder, name))
    changes = {"sha256": file_sha256(tar), "bytes": tar.stat().st_size} | changes
    record_path(folder, name).write_text(record.model_copy(update=changes).model_dump_json())
    build_index(folder, records(folder))


def spoil(folder: Path, name: str, spoiled: int) -> None:
    """Overwrites the metadata of the first ``spoiled`` samples of a shard, and commits the result."""
    tar, out, left = folder / f"{name}.tar", io.BytesIO(), spoiled
    with tarfile.open(tar) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            data = source.extractfile(member).read()
            if member.name.endswith(".json") and left:
                data, left = b"{" + data[1:-1] + b"!", left - 1
            target.addfile(member, io.BytesIO(data))
    damage(tar, lambda _: out.getvalue())
    recommit(folder, name)


def test_a_corrupt_sample_is_named_counted_and_skipped(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    whole = [batch.keys for batch in stream(folder).epoch(0)]
    spoil(folder, "train-00002", 1)
    source = stream(folder)
    batches = [batch.keys for batch in source.epoch(0)]
    bad = "clip%20006%2Emp4"
    assert batches == [tuple(key for key in batch if key != bad) for batch in whole]  # no other batch is touched
    list(source.epoch(1))
    assert len(source.corrupt) == 1
    (line,) = source.corrupt
    assert "train-00002.tar" in line and bad in line and "Invalid JSON" in line


def test_too_many_corrupt_samples_stop_the_run(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    spoil(folder, "train-00002", 3)
    with pytest.raises(InputError, match=r"2 of 17 samples cannot be read, 1 may .*extract verify"):
        list(stream(folder, batch_size=17).epoch(0))
    source = stream(folder, batch_size=17, max_corrupt=0.2)
    assert len(keys(source.epoch(0))) == 14 and len(source.corrupt) == 3


def test_a_cut_tar_stops(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    source, trusting = stream(folder), stream(folder, verify_hashes=False)
    damage(folder / "train-00002.tar", lambda data: data[: len(data) // 2 - 300])
    with pytest.raises(InputError, match=r"train-00002\.tar: not the tar that was committed.*extract verify"):
        list(source.epoch(0))
    with pytest.raises(InputError, match=r"train-00002\.tar: not a whole tar"):
        list(trusting.epoch(0))
    with pytest.raises(InputError, match="cut, changed or not committed"):
        stream(folder)


@pytest.mark.parametrize(("claimed", "message"), [(8, "7 samples where 8"), (6, "7 samples where 6")])
def test_a_wrong_count_stops(make_shards: Callable[..., Path], tmp_path: Path, claimed: int, message: str) -> None:
    folder = make_shards(tmp_path, SIZES)
    recommit(folder, "train-00002", num_samples=claimed)
    with pytest.raises(InputError, match=message):
        list(stream(folder, batch_size=2).epoch(0))


def test_folders_and_splits_that_do_not_fit(make_shards: Callable[..., Path], tmp_path: Path, shards: Path) -> None:
    with pytest.raises(InputError, match=r"no shard of split 'trian'.*did you mean train"):
        stream(shards, splits=["trian"])
    with pytest.raises(InputError, match=r"index\.json: no index"):
        stream(tmp_path / "absent")
    wider = make_shards(tmp_path / "wider", (3,), width=13)
    with pytest.raises(InputError, match="differ in width"):
        stream(shards, shards=[shards, wider])
    silent = make_shards(tmp_path / "silent", (3,), captions=0)
    with pytest.raises(InputError, match="has no caption"):
        list(stream(silent).epoch(0))
    single = make_shards(tmp_path / "single", (1,))
    with pytest.raises(InputError, match="at least 2"):
        stream(single)
    uncommitted = make_shards(tmp_path / "uncommitted", (3, 3))
    record_path(uncommitted, "train-00001").unlink()
    with pytest.raises(InputError, match="not committed"):
        stream(uncommitted)
    (wider / INDEX_NAME).write_text("{}")
    with pytest.raises(InputError, match="not a shard index"):
        stream(wider)


def test_two_folders_are_read_together(make_shards: Callable[..., Path], tmp_path: Path, shards: Path) -> None:
    other = make_shards(tmp_path, (3,), split="val")
    both = stream(shards, shards=[shards, other], splits=["train", "val"], batch_size=20)
    assert len(keys(both.epoch(0))) == 20
    assert both.fingerprint != stream(shards, batch_size=20).fingerprint
