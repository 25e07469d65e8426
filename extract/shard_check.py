"""One committed shard against its record and the contract.

Nothing is taken on trust: a record's size is looked at before it is read, a member's before it takes memory, and no
more than the bytes of one sample are held. The tar is read once, for its hash and its samples together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from data_specs.location import Location
from data_specs.regions import BOX_DIM
from data_specs.samples import (
    MAX_MEMBER_BYTES,
    MAX_METADATA_BYTES,
    METADATA_SUFFIX,
    REGIONS_SUFFIX,
    Sample,
    SampleError,
    decode_sample,
)
from data_specs.shards import CommitRecord, Provenance, ShardError, read_record
from data_specs.tar_members import Member, iterate_members

MAX_RECORD_BYTES = 256 << 20
ID_BYTES = 16
_HEADER_BYTES = 1 << 16  # of a safetensors file, at most
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Problem:
    """What is wrong, in which file, and where it is known in which sample (its key) and field."""

    file: str
    problem: str
    sample: str = ""
    field: str = ""

    def __str__(self) -> str:
        where = f"sample {self.sample}: " if self.sample else ""
        return f"{self.file}: {where}{f'{self.field}: ' if self.field else ''}{self.problem}"


@dataclass
class CheckedShard:
    """One shard: its record without the failures, what its tar holds, and what is wrong with it.

    ids: 16 bytes of hash for each sample's id.
    """

    path: Location
    record: CommitRecord | None = None
    failures: int = 0
    samples: int = 0
    regions: int = 0
    ids: bytes = b""
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: str, file: Location | None = None, sample: str = "", where: str = "") -> None:
        self.problems.append(Problem((file or self.path).name, problem, sample, where))


def check_shard(path: Location) -> CheckedShard:
    """One commit record and its tar."""
    checked = CheckedShard(path)
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ShardError(f"more than {MAX_RECORD_BYTES} bytes")
        record = read_record(path)
    except (ShardError, OSError) as error:
        checked.add(str(error).removeprefix(f"{path}: "))
        return checked
    checked.failures = len(record.failures)
    checked.record = record.model_copy(update={"failures": ()})
    tar = path.with_name(record.shard)
    if not tar.is_file():
        checked.add("is absent, its commit record is there", tar)
        return checked
    size = tar.stat().st_size
    if size != record.bytes:
        checked.add(f"{size} bytes, {record.bytes} are recorded", tar)
        return checked
    try:
        with tar.open("rb") as file:
            _check_tar(_Hashing(file), tar, record, checked)
    except OSError as error:
        checked.add(f"cannot be read: {error.strerror or error}", tar)
    return checked


class _Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def skip(self, size: int) -> None:
        while size > 0 and (data := self.read(min(size, _CHUNK))):
            size -= len(data)

    def finish(self) -> str:
        """The SHA-256 of the whole file."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


def _check_tar(stream: _Hashing, tar: Location, record: CommitRecord, checked: CheckedShard) -> None:
    ids = bytearray()
    try:
        for key, sample in _samples(stream, tar.name, record.provenance):
            if isinstance(sample, SampleError):
                checked.add(sample.problem, tar, key, sample.field)
                continue
            checked.samples += 1
            checked.regions += int(sample.regions.count.sum())
            ids += id_hash(sample.id)
            if problem := _unlike(sample, record.provenance):
                checked.add(problem, tar, key, "features")
    except ShardError as error:
        checked.add(str(error).removeprefix(f"{tar.name}: "), tar)
    checked.ids = bytes(ids)
    if stream.finish() != record.sha256:
        checked.add("SHA-256 is not the recorded one", tar)
    for name, found, said in (
        ("samples", checked.samples, record.num_samples),
        ("regions", checked.regions, record.num_regions),
    ):
        if found != said:
            checked.add(f"{found} {name}, {said} are recorded", tar)


def _samples(stream: _Hashing, shard: str, made: Provenance) -> Iterator[tuple[str, Sample | SampleError]]:
    """Key and sample, or what is wrong with it; a bad sample does not hide those behind it."""
    pending: tuple[str, bytes | SampleError] | None = None
    for member in iterate_members(stream, shard):  # type: ignore[arg-type]
        key, _, suffix = member.name.partition(".")
        if suffix == REGIONS_SUFFIX and pending is None:
            pending = key, _take(stream, shard, key, suffix, member, _most_bytes(made))
            continue
        if suffix != METADATA_SUFFIX or pending is None or pending[0] != key:
            raise ShardError(f"{shard}: unexpected member {member.name!r}")
        metadata = _take(stream, shard, key, suffix, member, MAX_METADATA_BYTES)
        regions, pending = pending[1], None
        broken = next((part for part in (regions, metadata) if isinstance(part, SampleError)), None)
        yield key, broken if broken is not None else _decoded(key, regions, metadata)  # type: ignore[arg-type]
    if pending is not None:
        raise ShardError(f"{shard}: the tar ends inside sample {pending[0]}")


def _take(stream: _Hashing, shard: str, key: str, suffix: str, member: Member, most: int) -> bytes | SampleError:
    if member.size > most:
        stream.skip(member.padded)
        return SampleError(key, suffix, f"{member.size} bytes, at most {most} can be right")
    data = stream.read(member.padded)
    if len(data) < member.padded:
        raise ShardError(f"{shard}: not a whole tar: it ends inside {member.name!r}")
    return data[: member.size]


def _decoded(key: str, regions: bytes, metadata: bytes) -> Sample | SampleError:
    try:
        return decode_sample(key, regions, metadata)
    except SampleError as error:
        return error


def _most_bytes(made: Provenance) -> int:
    """What the tensors of a sample can take at most, by what was asked for."""
    region = 2 * made.feature_dim + 4 * BOX_DIM + 4 * 4  # score and label, and the attribute's
    return min(MAX_MEMBER_BYTES, made.frames * (made.regions * region + 4) + _HEADER_BYTES)


def _unlike(sample: Sample, made: Provenance) -> str:
    frames, kept, width = sample.regions.features.shape
    if (kept, width) == (made.regions, made.feature_dim) and frames in (1, made.frames):
        return ""
    return f"{[frames, kept, width]} are not the {[made.frames, made.regions, made.feature_dim]} that was asked for"


def id_hash(identifier: str) -> bytes:
    """16 bytes that stand for an id: millions of them fit into memory, and no two ids share one by chance."""
    return hashlib.blake2b(identifier.encode("utf-8"), digest_size=ID_BYTES).digest()
