"""One committed tar, open for reading at any place: its hash compared first, its samples found by its headers."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.location import is_local, store_errors
from data_specs.samples import MAX_METADATA_BYTES, METADATA_SUFFIX, REGIONS_SUFFIX, SampleError, ShardError
from data_specs.tar_members import iterate_members
from train.reading.sources import Shard

_CHUNK = 1 << 20
_REPAIR = "look with: python -m extract verify FOLDER, and extract it again"
T = TypeVar("T")
Identity = tuple[int, int, int, int]


class Member:
    """The bytes of one member, read from the tar as they are asked for (``data_specs.partial.Stored``)."""

    def __init__(self, file: ShardFile, start: int, size: int) -> None:
        self._file, self._start, self.size = file, start, size

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop``."""
        return self._file.read(self._start + start, stop - start)

    def read_into(self, start: int, out: NDArray) -> None:
        """Fills ``out``, which is contiguous, from byte ``start`` on."""
        self._file.read_into(self._start + start, out)


@dataclass(slots=True)
class _Found:
    """Where the two members of a sample are; a start of -1 where there is none."""

    key: str
    regions: tuple[int, int] = (-1, 0)
    metadata: tuple[int, int] = (-1, 0)


class ShardFile:
    """An open shard. From behind a URL it is fetched whole into a file of this machine that has no name.

    ``verify`` compares its hash, but for a local file whose ``identity`` is ``known``: that one was compared before. An
    identity changes when the file is replaced or written to.
    ``bytes_read`` counts what was asked of the file for samples, the headers and the hash not included.

    Raises:
        InputError: it is gone, cut, not the one that was committed, or no tar of so many samples.
    """

    def __init__(self, shard: Shard, verify: bool, known: Identity | None = None) -> None:
        self.shard = shard
        self.bytes_read = 0
        self._verify, self._samples = verify, []
        self._open(known)
        self.identity = self._identity()

    @property
    def fetched(self) -> bool:
        """Whether it came from behind a URL: then it cannot rest, it would be lost."""
        return not is_local(self.shard.path)

    @property
    def resting(self) -> bool:
        """Whether ``wake`` must be called before anything is read."""
        return self._stream.closed

    def rest(self) -> None:
        """Gives the descriptor of a local file back, until ``wake``."""
        self._stream.close()

    def wake(self) -> None:
        """Opens it again; if it was changed meanwhile, as if for the first time.

        Raises:
            InputError: as the class.
        """
        self._open(self.identity)
        self.identity = self._identity()

    def members(self, place: int) -> tuple[str, Member, bytes]:
        """Key, regions and metadata of the sample at ``place``.

        Raises:
            SampleError: one of the two members is absent, or the metadata is too long to be right.
            InputError: the tar was cut meanwhile.
        """
        found, name = self._samples[place], self.shard.path.name
        for suffix, (start, _) in ((REGIONS_SUFFIX, found.regions), (METADATA_SUFFIX, found.metadata)):
            if start < 0:
                raise SampleError(found.key, suffix, "absent", name)
        start, size = found.metadata
        if size > MAX_METADATA_BYTES:
            raise SampleError(found.key, METADATA_SUFFIX, f"{size} bytes, at most {MAX_METADATA_BYTES} are read", name)
        return found.key, Member(self, *found.regions), self.read(start, size)

    def read(self, start: int, size: int) -> bytes:
        """So many bytes of the tar."""
        data = self._guard(os.pread, size, start)
        if len(data) != size:
            data += self._rest(start + len(data), size - len(data))
        self.bytes_read += size
        return data

    def read_into(self, start: int, out: NDArray) -> None:
        """Fills an array with the bytes of the tar from ``start`` on."""
        into = memoryview(out.view(np.uint8).reshape(-1, copy=False))
        done = self._guard(os.preadv, [into], start)
        if done != len(into):
            into[done:] = self._rest(start + done, len(into) - done)
        self.bytes_read += len(into)

    def close(self) -> None:
        """Frees the file; what was fetched goes with it."""
        self._stream.close()

    def _open(self, known: Identity | None) -> None:
        self._stream = self._opened()
        try:
            self._descriptor = self._stream.fileno()
            changed = self._identity() != known
            if changed and self._verify and not self.fetched:
                self._compare(self._hash())
            if changed or not self._samples:
                self._samples = self._find_samples()
        except BaseException:
            self._stream.close()
            raise

    def _identity(self) -> Identity:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _opened(self) -> IO[bytes]:
        path = self.shard.path
        try:
            if is_local(path):
                return path.open("rb", buffering=0)
            with store_errors(path):
                return self._fetched()
        except FileNotFoundError:
            raise InputError(f"{path}: gone since the run began; put it back and go on with --resume") from None
        except OSError as error:
            fewer = error.errno in (errno.EMFILE, errno.ENOSPC)
            way_out = "; lower data.shuffle_window or data.lanes: fewer shards are then open at once" if fewer else ""
            raise InputError(f"{path}: cannot be read: {error.strerror or error}{way_out}") from None

    def _fetched(self) -> IO[bytes]:
        digest = hashlib.sha256()
        stream = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the shard is
        try:
            with self.shard.path.open("rb") as remote:
                while chunk := remote.read(_CHUNK):
                    stream.write(chunk)
                    digest.update(chunk)
            stream.flush()
            if self._verify:
                self._compare(digest.hexdigest())
        except BaseException:
            stream.close()
            raise
        return stream

    def _hash(self) -> str:
        digest, at = hashlib.sha256(), 0
        while chunk := self._guard(os.pread, _CHUNK, at):
            digest.update(chunk)
            at += len(chunk)
        return digest.hexdigest()

    def _compare(self, found: str) -> None:
        if found != self.shard.sha256:
            raise InputError(
                f"{self.shard.path}: not the tar that was committed: its SHA-256 is {found[:12]}..., recorded is"
                f" {self.shard.sha256[:12]}...; {_REPAIR}"
            )

    def _find_samples(self) -> list[_Found]:
        """Neighbours of one key are a sample, as readers of WebDataset see it."""
        name, size = str(self.shard.path), os.fstat(self._descriptor).st_size
        self._stream.seek(0)
        found: list[_Found] = []
        try:
            for member in iterate_members(self._stream, name):
                at = self._stream.tell()
                if at + member.padded > size:
                    raise ShardError(f"{name}: not a whole tar: it ends inside {member.name!r}")
                key, _, suffix = member.name.partition(".")
                if suffix not in (REGIONS_SUFFIX, METADATA_SUFFIX):
                    raise ShardError(f"{name}: unexpected member {member.name!r}")
                if not found or found[-1].key != key:
                    found.append(_Found(key))
                setattr(found[-1], "regions" if suffix == REGIONS_SUFFIX else "metadata", (at, member.size))
                self._stream.seek(at + member.padded)
        except (ShardError, OSError) as error:
            raise InputError(f"{error}; {_REPAIR}") from None
        if len(found) != self.shard.samples:
            raise InputError(f"{name}: {len(found)} samples where {self.shard.samples} were committed; {_REPAIR}")
        return found

    def _rest(self, start: int, size: int) -> bytes:
        """What a read left over: a file system may give less than was asked for, though the file does not end."""
        data = b""
        while len(data) < size:
            more = self._guard(os.pread, size - len(data), start + len(data))
            if not more:
                raise InputError(f"{self.shard.path}: not a whole tar: cut while it was read; {_REPAIR}")
            data += more
        return data

    def _guard(self, read: Callable[..., T], *arguments: object) -> T:
        try:
            return read(self._descriptor, *arguments)
        except OSError as error:
            raise InputError(f"{self.shard.path}: cannot be read: {error.strerror or error}") from None
