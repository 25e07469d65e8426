"""Are the shards of a folder whole: hashes, counts, every sample against the contract, and the folder as one.

Nothing is taken on trust: a record's size is looked at before it is read, a member's before it takes memory, and no
more than the bytes of one sample are held a process. A tar is read once, for its hash and its samples together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from data_specs.atomic import TEMPORARY_SUFFIX
from data_specs.errors import InputError
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
from data_specs.shard_index import read_index
from data_specs.shards import (
    INDEX_NAME,
    CommitRecord,
    Provenance,
    ShardError,
    provenance_difference,
    read_record,
    record_paths,
)
from data_specs.tar_members import Member, iterate_ids, iterate_members
from extract.processes import spread

MAX_RECORD_BYTES = 256 << 20
_HEADER_BYTES = 1 << 16  # of a safetensors file, at most
_ID_BYTES = 16
_HERE_BELOW_BYTES = 1 << 30  # a small folder is checked sooner than a process starts
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


@dataclass(frozen=True)
class Verified:
    """What was looked at, and every problem; no problem means that the folder can be trained on."""

    folder: str
    shards: int
    samples: int
    regions: int
    failures: int
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict:
        """The same, for JSON."""
        return asdict(self)


@dataclass
class _Checked:
    """One shard: its record without the failures, what its tar holds, and what is wrong with it.

    ids: 16 bytes of hash for each sample's id.
    """

    path: Path
    record: CommitRecord | None = None
    failures: int = 0
    samples: int = 0
    regions: int = 0
    ids: bytes = b""
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: str, file: Path | None = None, sample: str = "", where: str = "") -> None:
        self.problems.append(Problem((file or self.path).name, problem, sample, where))


def verify(folder: Path, workers: int, report: Callable[[], None]) -> Verified:
    """Checks every commit record of ``folder`` against its tar, every tar against the contract, and the index.

    workers: processes; a small folder is checked in this one. report: called after each shard.

    Raises:
        InputError: the folder is absent or holds neither a commit record nor a tar.
        extract.processes.WorkerDiedError: a process was killed.
    """
    paths = record_paths(folder)
    tars = {path.name: path.stat().st_size for path in folder.glob("*.tar") if path.is_file()}
    if not paths and not tars:
        raise InputError(f"{folder}: no commit record is there; make shards with: python -m extract run --out {folder}")
    processes = 1 if sum(tars.values()) < _HERE_BELOW_BYTES else max(1, min(workers, len(paths)))
    checked: list[_Checked] = []
    with closing(spread(check_shard, paths, processes)) as results:
        for found in results:
            checked.append(found)
            report()
    checked.sort(key=lambda one: one.path.name)
    problems = [problem for one in checked for problem in one.problems]
    recorded = {one.record.shard for one in checked if one.record is not None}
    problems += [Problem(tar, "has no valid commit record") for tar in sorted(tars.keys() - recorded)]
    leftovers = sorted(folder.glob(f".*{TEMPORARY_SUFFIX}"))
    problems += [Problem(path.name, "left over by a writer that was killed; run extract again") for path in leftovers]
    problems += _repeated_ids(folder, checked)
    problems += _check_together(folder, [one.record for one in checked if one.record is not None])
    return Verified(
        folder=str(folder),
        shards=len(recorded),
        samples=sum(one.samples for one in checked),
        regions=sum(one.regions for one in checked),
        failures=sum(one.failures for one in checked),
        problems=tuple(problems),
    )


def check_shard(path: Path) -> _Checked:
    """One commit record and its tar."""
    checked = _Checked(path)
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


def _check_tar(stream: _Hashing, tar: Path, record: CommitRecord, checked: _Checked) -> None:
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
    return hashlib.blake2b(identifier.encode("utf-8"), digest_size=_ID_BYTES).digest()


def _repeated_ids(folder: Path, checked: list[_Checked]) -> Iterator[Problem]:
    """Ids that stand more than once; only the shards that hold one are opened again, to name it."""
    halves = np.frombuffer(b"".join(one.ids for one in checked), "<u8").reshape(-1, 2)
    holder = np.repeat(np.arange(len(checked)), [len(one.ids) // _ID_BYTES for one in checked])
    order = np.lexsort(halves.T)
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
    repeated = {halves[place].tobytes() for place in order[same[:-1]]}
    where: dict[str, list[str]] = {}
    for number in sorted({int(holder[place]) for place in order[same[:-1] | same[1:]]}):
        record = checked[number].record
        assert record is not None
        tar = folder / record.shard
        with tar.open("rb") as stream:
            for identifier in iterate_ids(stream, tar.name, record.bytes):
                if id_hash(identifier) in repeated:
                    where.setdefault(identifier, []).append(tar.name)
    for identifier, tars in where.items():
        places = ", ".join(f"{n} times in {tar}" if n > 1 else tar for tar, n in Counter(tars).items())
        yield Problem(tars[-1], f"id {identifier!r} stands more than once: {places}")


def _check_together(folder: Path, records: list[CommitRecord]) -> Iterator[Problem]:
    """One provenance for all, and an index that lists what is there."""
    if not records:
        return
    for record in records[1:]:
        if difference := provenance_difference(records[0].provenance, record.provenance):
            yield Problem(record.shard, f"made differently from {records[0].shard}: {difference}")
    try:
        index = read_index(folder)
    except InputError as error:
        yield Problem(INDEX_NAME, error.message.removeprefix(f"{folder / INDEX_NAME}: "))
        return
    if difference := provenance_difference(index.provenance, records[0].provenance):
        yield Problem(INDEX_NAME, f"says another provenance than {records[0].shard}: {difference}")
    listed = {entry.url: (entry.sha256, entry.nsamples, entry.bytes, entry.regions) for entry in index.shardlist}
    there = {record.shard: (record.sha256, record.num_samples, record.bytes, record.num_regions) for record in records}
    if listed != there:
        differ = sorted(name for name in listed.keys() | there.keys() if listed.get(name) != there.get(name))
        yield Problem(
            INDEX_NAME, f"does not list the committed shards ({', '.join(differ[:3])}); run extract again to remake it"
        )
