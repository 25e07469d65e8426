"""The project's reader of tar headers against Python's own, and against files that lie."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from data_specs.shards import ShardError, iterate_keys
from data_specs.tar_members import iterate_ids, iterate_members
from tests.extract import made

LONG = "ü/" * 60  # 120 characters, 480 in a key


def test_ids_are_those_that_tarfile_reads(tmp_path: Path) -> None:
    ids = ["a", "b/c.mp4#t=1-2", LONG, "d"]
    record = made.shard(tmp_path, "train-00000", ids)
    tar = tmp_path / record.shard
    with tar.open("rb") as stream:
        assert list(iterate_ids(stream, tar.name, record.bytes)) == ids == list(iterate_keys(tar))


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, data in members:
            header = tarfile.TarInfo(name)
            header.type, header.size = kind, len(data)
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files(kind: bytes) -> None:
    with pytest.raises(ShardError, match="not a plain file"):
        list(iterate_members(io.BytesIO(archive(("a.json", kind, b""))), "x"))


def test_a_name_that_claims_gigabytes_takes_no_memory() -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 34
    with pytest.raises(ShardError, match=r"a name of 17179869184 bytes"):
        list(iterate_members(io.BytesIO(header.tobuf(tarfile.GNU_FORMAT)), "x"))


def test_cut_and_broken() -> None:
    whole = archive(("a.json", tarfile.REGTYPE, b"x" * 2000), ("b.json", tarfile.REGTYPE, b"y"))
    for size in (100, 512, 1500, 2560, 2600):
        with pytest.raises(ShardError, match="not a whole tar"):
            list(iterate_ids(io.BytesIO(whole[:size]), "x", size))
    broken = bytearray(whole)
    broken[10] ^= 1
    with pytest.raises(ShardError, match="bad checksum"):
        list(iterate_ids(io.BytesIO(bytes(broken)), "x", len(broken)))
