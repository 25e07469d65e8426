"""The members of a shard's tar, one header at a time: nothing that the file says takes memory unchecked.

Python's own reader takes an extended header, such as that of a long name, whole into memory, however long it says it
is, and keeps every header that it has seen. Here a header is 512 bytes, a long name is bounded, and what is no plain
file is refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from data_specs.keys import decode_key
from data_specs.samples import METADATA_SUFFIX, ShardError

_BLOCK = tarfile.BLOCKSIZE
_MAX_NAME_BYTES = 64 << 10
_END = bytes(_BLOCK)
_OCTAL = frozenset(b"01234567")


@dataclass(frozen=True)
class Member:
    """A plain file in a tar: its name and its size in bytes."""

    name: str
    size: int

    @property
    def padded(self) -> int:
        """Bytes that it takes in the tar, without its header."""
        return -(-self.size // _BLOCK) * _BLOCK


def iterate_members(stream: IO[bytes], shard: str) -> Iterator[Member]:
    """The members in order; when one is given out the stream stands at its first byte.

    The caller takes what it wants of ``member.padded`` bytes and leaves the stream behind them.

    Raises:
        ShardError: the tar is cut, a header is broken, or a member is no plain file.
    """
    long_name: str | None = None
    while True:
        block = stream.read(_BLOCK)
        if block == _END:
            return
        plain = None if long_name else _plain_member(block)
        if plain is not None:
            yield plain
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ShardError(f"{shard}: not a whole tar: {error}") from None
        if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            long_name = _read_long_name(stream, shard, header)
            continue
        if not header.isreg() or header.size < 0:
            raise ShardError(f"{shard}: member {header.name!r} is not a plain file")
        yield Member(long_name or header.name, header.size)
        long_name = None


def iterate_ids(stream: IO[bytes], shard: str, size: int) -> Iterator[str]:
    """The ids of the samples of a tar of ``size`` bytes, from its headers; what lies between them is not read.

    Raises:
        ShardError: as above, or a member's name is not a sample's.
    """
    for member in iterate_members(stream, shard):
        after = stream.tell() + member.padded
        if after > size:
            raise ShardError(f"{shard}: not a whole tar: it ends inside {member.name!r}")
        key, _, suffix = member.name.partition(".")
        if suffix == METADATA_SUFFIX:
            try:
                yield decode_key(key)
            except ValueError as error:
                raise ShardError(f"{shard}: not a whole shard: {error}") from None
        stream.seek(after)


def _plain_member(block: bytes) -> Member | None:
    """What nearly every header of a shard is, read four times as fast as by tarfile; None for whatever is not."""
    name, size, checksum = block[:100], block[124:136].rstrip(b"\0 "), block[148:156].rstrip(b"\0 ")
    if block[156:157] != tarfile.REGTYPE or block[257:262] != b"ustar" or any(block[345:346]):
        return None
    if len(block) != _BLOCK or not size.isdigit() or not checksum.isdigit() or not set(size + checksum) <= _OCTAL:
        return None
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != int(checksum, 8):
        return None
    return Member(name.partition(b"\0")[0].decode("utf-8", "surrogateescape"), int(size, 8))


def _read_long_name(stream: IO[bytes], shard: str, header: tarfile.TarInfo) -> str:
    if not 0 < header.size <= _MAX_NAME_BYTES:
        raise ShardError(f"{shard}: a name of {header.size} bytes, at most {_MAX_NAME_BYTES} are read")
    data = stream.read(-(-header.size // _BLOCK) * _BLOCK)[: header.size]
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    for line in data.split(b"\n"):
        name, equals, value = line.partition(b" ")[2].partition(b"=")
        if equals and name == b"path":
            return value.decode("utf-8", "surrogateescape")
    raise ShardError(f"{shard}: an extended header without a name")
