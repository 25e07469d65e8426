"""Shards read at any place: no more bytes, files and hashes than are needed."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_specs.errors import InputError
from data_specs.samples import decode_sample
from data_specs.shards import iterate_shard
from train.config import DataConfig
from train.reading.loader import room_shape
from train.reading.parts import PartReader
from train.reading.plan import Consumer, Plan
from train.reading.shard_access import ShardAccess
from train.reading.shard_file import ShardFile
from train.reading.sources import Source, open_sources

SIZES = (3, 2, 4, 1)
WIDTH = 5000  # 40 KB a frame of 4 regions


@pytest.fixture
def source(make_shards: Callable[..., Path], tmp_path: Path) -> Source:
    return open_sources(DataConfig(shards=(make_shards(tmp_path, SIZES, width=WIDTH),)))[0]


def descriptors(folder: Path) -> int:
    """How many files of a folder this process has open."""
    found = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd_exists(fd))
    return sum(path.startswith(str(folder)) for path in found)


def fd_exists(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_members_at_any_place_are_those_of_the_tar(source: Source) -> None:
    for shard in source.shards:
        file = ShardFile(shard, verify=True)
        stored = list(iterate_shard(shard.path))
        for place in reversed(range(shard.samples)):
            key, regions, metadata = file.members(place)
            found = decode_sample(key, regions.read(0, regions.size), metadata)
            assert (found.key, found.captions) == (stored[place].key, stored[place].captions)
            assert found.regions.features.tobytes() == stored[place].regions.features.tobytes()
        file.close()


def test_only_the_bytes_of_the_frames_and_regions_are_read(source: Source) -> None:
    """Of 3 frames of 40 KB, one: the head of the member, the frame, and the metadata."""
    for regions in (4, 2):
        config = DataConfig(shards=(source.folder,), frames=1, regions=regions, batch_size=10)
        plan = Plan(config, 7, (source,))
        reader, room = PartReader(plan, Consumer()), room_shape(plan, Consumer()).room()
        assert [len(part) for part in reader.parts(0, 0, lambda _, room=room: room)] == [10]
        metadata = sum(len(ShardFile(s, False).members(p)[2]) for s in source.shards for p in range(s.samples))
        assert reader.bytes_read == 10 * ((16 << 10) + regions * WIDTH * 2) + metadata


def test_a_shard_is_closed_after_its_last_sample_and_few_keep_a_descriptor(source: Source) -> None:
    access = ShardAccess((source,), verify=True, awake=2)
    access.expect(Counter({(0, number): size for number, size in enumerate(SIZES)}))
    for turn in range(max(SIZES)):
        for number, size in enumerate(SIZES):
            if turn < size:
                key, _, metadata = access.get((0, number)).members(turn)
                assert key in hashed_names(source, number) and metadata
                assert descriptors(source.folder) <= 2
                access.done((0, number))
    assert descriptors(source.folder) == 0


def hashed_names(source: Source, number: int) -> set[str]:
    with tarfile.open(source.shards[number].path) as tar:
        return {name.partition(".")[0] for name in tar.getnames()}


def test_a_hash_is_compared_once_for_the_same_file(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[int] = []
    plain = hashlib.sha256

    def counting() -> object:
        hashes.append(1)
        return plain()

    monkeypatch.setattr("train.reading.shard_file.hashlib.sha256", counting)
    access = ShardAccess((source,), verify=True, awake=1)
    for _ in range(2):
        access.expect(Counter({(0, 0): 2, (0, 1): 2}))
        for which in ((0, 0), (0, 1), (0, 0), (0, 1)):
            access.get(which)
            access.done(which)
    assert len(hashes) == 2
    path = source.shards[0].path
    os.utime(path, (1, 1))  # might have been written to: compared again
    access.expect(Counter({(0, 0): 1}))
    access.get((0, 0))
    assert len(hashes) == 3
    access.close()


def test_rounds_and_epochs_hash_no_file_again(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    plain = ShardFile._hash
    monkeypatch.setattr(ShardFile, "_hash", lambda file: hashed.append(file.shard.path.name) or plain(file))
    config = DataConfig(shards=(source.folder,), batch_size=5, rounds=3)
    plan = Plan(config, 7, (source,))
    reader, room = PartReader(plan, Consumer()), room_shape(plan, Consumer()).room()
    for epoch in range(2):
        assert len(list(reader.parts(epoch, 0, lambda _: room))) == 3 * 2
    assert sorted(hashed) == sorted(shard.path.name for shard in source.shards)


def test_a_shard_that_changes_while_it_rests(source: Source) -> None:
    access = ShardAccess((source,), verify=True, awake=1)
    access.expect(Counter({(0, 0): 9, (0, 1): 9}))
    access.get((0, 0))
    access.get((0, 1))
    path = source.shards[0].path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="not the tar that was committed"):
        access.get((0, 0))
    access.close()


@pytest.mark.parametrize("left", [0, 100, 511, 512, 700, 50_000])
def test_a_tar_that_is_cut_is_named(source: Source, left: int) -> None:
    path = source.shards[0].path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"train-00000\.tar: not (a whole tar|the tar that was committed)"):
        ShardFile(source.shards[0], verify=left == 700)


def test_a_tar_that_is_cut_while_it_is_open(source: Source) -> None:
    file = ShardFile(source.shards[0], verify=True)
    _, regions, _ = file.members(0)
    path = source.shards[0].path
    path.chmod(0o644)
    os.truncate(path, 3000)
    with pytest.raises(InputError, match="cut while it was read"):
        regions.read_into(20_000, np.empty(100, np.float16))
    with pytest.raises(InputError, match="cut while it was read"):
        file.members(2)
    file.close()


def test_a_foreign_member_is_named(source: Source) -> None:
    path = source.shards[1].path
    path.chmod(0o644)
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.exe"))
    with pytest.raises(InputError, match=r"train-00001\.tar: unexpected member 'a\.exe'.*extract it again"):
        ShardFile(source.shards[1], verify=False)
