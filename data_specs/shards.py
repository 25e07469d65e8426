"""Region shards: tar files in WebDataset layout, whole or absent, each with a commit record written last."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.location import Location, fresh
from data_specs.samples import (
    MAX_MEMBER_BYTES,
    MAX_METADATA_BYTES,
    METADATA_SUFFIX,
    REGIONS_SUFFIX,
    Sample,
    SampleError,
    ShardError,
    decode_sample,
    encode_sample,
)
from data_specs.series import parse_shard_name
from data_specs.tar_members import iterate_ids

if TYPE_CHECKING:
    from webdataset import TarWriter

FORMAT_VERSION = 1
INDEX_NAME = "index.json"
LABELS_NAME = "labels.json"
_HASH_CHUNK = 1 << 20


class Provenance(Settings):
    """Everything the features depend on. A folder of shards has exactly one."""

    dataset: str
    manifest_sha256: str
    detector: str
    weights_sha256: str
    detector_settings: dict[str, Any]
    box_convention: str
    sampling: str
    frames: int
    regions: int
    feature_dim: int
    ffmpeg: str


class CommitRecord(Settings):
    """What stands beside a whole shard, written last. Without it the shard does not exist."""

    format_version: int = FORMAT_VERSION
    shard: str
    sha256: str
    bytes: int
    num_samples: int
    num_regions: int
    plan_hash: str
    provenance: Provenance
    failures: tuple[Failure, ...] = ()

    @property
    def name(self) -> str:
        """The shard's name without ``.tar``."""
        return self.shard.removesuffix(".tar")


def write_shard(
    folder: Location, name: str, results: Iterable[Sample | Failure], plan_hash: str, provenance: Provenance
) -> CommitRecord:
    """Writes ``{name}.tar`` and its commit record, or neither; reads the tar back before it gets its name.

    The bytes are a function of the samples alone: member order is the order of ``results``, mtime and owner are 0.

    Raises:
        ShardError: a sample is larger than what is read back.
    """
    failures: list[Failure] = []
    samples = regions = 0
    target = folder / f"{name}.tar"
    record_path(folder, name).unlink(missing_ok=True)  # no old record may ever stand beside a new tar
    with atomic.replacing(target) as temporary:
        with temporary.open("wb") as stream, _tar_writer(stream) as writer:
            for result in results:
                if isinstance(result, Failure):
                    failures.append(result)
                    continue
                _write_members(writer, target.name, result)
                samples += 1
                regions += int(result.regions.count.sum())
        _read_back(temporary, target.name, samples, regions)
        digest, size = file_sha256(temporary), temporary.stat().st_size
    record = CommitRecord(
        shard=target.name,
        sha256=digest,
        bytes=size,
        num_samples=samples,
        num_regions=regions,
        plan_hash=plan_hash,
        provenance=provenance,
        failures=tuple(failures),
    )
    atomic.write_text(record_path(folder, name), record.model_dump_json(indent=1) + "\n")
    return record


def record_path(folder: Location, name: str) -> Location:
    """Where the commit record of shard ``name`` stands."""
    return folder / f"{name}.json"


def record_paths(folder: Location) -> list[Location]:
    """The commit records' files of a folder, by shard name; other JSON files may stand beside them."""
    found = (path for path in fresh(folder).glob("*.json") if parse_shard_name(path.stem) is not None)
    return sorted(found, key=lambda path: path.name)


def read_record(path: Location) -> CommitRecord:
    """Reads a commit record.

    Raises:
        ShardError: not a commit record of this format version.
    """
    try:
        record = CommitRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ShardError(f"{path}: not a commit record: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if record.format_version != FORMAT_VERSION:
        raise ShardError(f"{path}: format version {record.format_version}, this program reads {FORMAT_VERSION}")
    if record.name != path.stem or "/" in record.shard:
        raise ShardError(f"{path}: describes another shard, {record.shard!r}")
    return record


def committed(folder: Location, name: str) -> CommitRecord | None:
    """The record of a shard if it is committed and its tar has the recorded size, else None."""
    path = record_path(folder, name)
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except ShardError:
        return None  # the caller writes the shard anew; `verify` is what reports such a record
    tar = folder / record.shard
    return record if tar.is_file() and tar.stat().st_size == record.bytes else None


def records(folder: Location) -> list[CommitRecord]:
    """All commit records of a folder, by shard name.

    Raises:
        InputError: the folder is absent or holds none.
        ShardError: a record cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of shards; make it with: python -m extract run --out {folder}")
    found = list(iterate_records(folder))
    if not found:
        raise InputError(f"{folder}: holds no committed shard; make some with: python -m extract run --out {folder}")
    return found


def iterate_records(folder: Location) -> Iterator[CommitRecord]:
    """The same one at a time, for folders of many shards; none where there is none.

    Raises:
        ShardError: a record cannot be read.
    """
    return (read_record(path) for path in record_paths(folder))


def provenance_difference(one: Provenance, other: Provenance) -> str:
    """Names the settings in which two provenances differ, with both values."""
    a, b = one.model_dump(), other.model_dump()
    return "; ".join(f"{name}: {a[name]!r} and {b[name]!r}" for name in a if a[name] != b[name])


def iterate_shard(path: Location) -> Iterator[Sample]:
    """Samples of one tar, in order.

    Raises:
        ShardError: the tar is cut or holds something that is not a sample's member.
        SampleError: a sample breaks the contract.
    """
    try:
        with path.open("rb") as stream:
            yield from read_samples(stream, path.name)
    except FileNotFoundError:
        raise ShardError(f"{path}: no such shard") from None


def read_samples(stream: IO[bytes], shard: str) -> Iterator[Sample]:
    """Samples of an open tar stream named ``shard`` in messages; see ``iterate_shard``."""
    pending: tuple[str, bytes] | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if not member.isreg() or member.issparse():
                    raise ShardError(f"{shard}: member {member.name!r} is not a plain file")
                _check_size(shard, member.name, member.size)
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                if suffix == REGIONS_SUFFIX and pending is None:
                    pending = (key, data)
                elif suffix == METADATA_SUFFIX and pending is not None and pending[0] == key:
                    yield _decode(shard, key, pending[1], data)
                    pending = None
                else:
                    raise ShardError(f"{shard}: unexpected member {member.name!r}")
    except tarfile.TarError as error:
        raise ShardError(f"{shard}: not a whole tar: {error}") from None
    if pending is not None:
        raise ShardError(f"{shard}: the tar ends inside sample {pending[0]}")


def iterate_keys(path: Location) -> Iterator[str]:
    """The ids of a tar's samples, read from its headers alone.

    Raises:
        ShardError: the tar is cut or absent, or a member's name is not a sample's.
    """
    try:
        with path.open("rb") as stream:
            yield from iterate_ids(stream, str(path), path.stat().st_size)
    except FileNotFoundError:
        raise ShardError(f"{path}: no such shard") from None


def file_sha256(path: Location) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_size(shard: str, name: str, size: int) -> None:
    most = MAX_METADATA_BYTES if name.endswith(f".{METADATA_SUFFIX}") else MAX_MEMBER_BYTES
    if size > most:
        raise ShardError(f"{shard}: member {name!r} is not a plain file of at most {most} bytes")


def _decode(shard: str, key: str, regions: bytes, metadata: bytes) -> Sample:
    try:
        return decode_sample(key, regions, metadata)
    except SampleError as error:
        raise error.inside(shard) from None


def _tar_writer(stream: IO[bytes]) -> TarWriter:
    from webdataset import TarWriter  # it imports torch, which takes seconds that a reader need not spend

    return TarWriter(stream, mtime=0, user="", group="", mode=0o444, encoder=False)


def _write_members(writer: TarWriter, shard: str, sample: Sample) -> None:
    try:
        members = encode_sample(sample)
    except SampleError as error:
        raise ShardError(str(error.inside(shard))) from None
    for member, data in members.items():
        key, _, suffix = member.partition(".")
        writer.write({"__key__": key, suffix: data})


def _read_back(path: Path, shard: str, samples: int, regions: int) -> None:
    found_samples = found_regions = 0
    with path.open("rb") as stream:
        for sample in read_samples(stream, shard):
            found_samples += 1
            found_regions += int(sample.regions.count.sum())
    if (found_samples, found_regions) != (samples, regions):
        raise ShardError(f"{shard}: wrote {samples} samples, read back {found_samples}")
