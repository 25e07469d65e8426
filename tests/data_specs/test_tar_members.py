"""The project's reader of tar headers against Python's own, and against files that lie."""

from __future__ import annotations

import io
import itertools
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


def by_tarfile(block: bytes) -> tuple[str, int] | None:
    """What Python's reader makes of a header; None for what it or the contract refuses."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return (header.name, header.size) if header.isreg() and header.size >= 0 else None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("mended", [False, True], ids=["broken", "with a checksum that agrees"])
def test_a_header_with_any_byte_changed_reads_as_by_tarfile(form: int, mended: bool) -> None:
    plain = tarfile.TarInfo("clip%2Emp4.regions.safetensors")
    plain.size = 123_456
    whole = plain.tobuf(form)
    for at in range(512):
        for value in (0, ord("7"), ord("9"), ord("-"), 0x80):
            changed = bytearray(whole)
            changed[at] = value
            if mended:
                total = sum(changed) - sum(changed[148:156]) + 8 * ord(" ")
                changed[148:156] = b"%06o\0 " % total
            expected = by_tarfile(bytes(changed))
            if expected is None or changed[156:157] in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                with pytest.raises(ShardError):
                    list(iterate_members(io.BytesIO(bytes(changed)), "x"))
                continue
            (found,) = itertools.islice(iterate_members(io.BytesIO(bytes(changed)), "x"), 1)
            assert (found.name, found.size) == expected
