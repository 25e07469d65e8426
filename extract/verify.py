"""Are the shards of a folder whole: hashes, counts and every sample against the contract."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import InputError
from data_specs.samples import SampleError
from data_specs.shard_index import read_index
from data_specs.shards import (
    INDEX_NAME,
    CommitRecord,
    ShardError,
    file_sha256,
    iterate_shard,
    provenance_difference,
    read_record,
    record_paths,
)


@dataclass(frozen=True)
class Verified:
    """What was looked at, and one line a problem; no problem means that the folder can be trained on."""

    shards: int
    samples: int
    regions: int
    failures: int
    problems: tuple[str, ...]


def verify(folder: Path, threads: int, report: Callable[[], None]) -> Verified:
    """Checks every commit record of ``folder`` against its tar, every tar against the contract, and the index.

    report: called after each shard.

    Raises:
        InputError: the folder is absent or holds no commit record.
    """
    paths = record_paths(folder)
    if not paths:
        raise InputError(f"{folder}: no commit record is there; make shards with: python -m extract run --out {folder}")
    problems: list[str] = []
    records: list[CommitRecord] = []
    for path in paths:
        try:
            records.append(read_record(path))
        except ShardError as error:
            problems.append(str(error))
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda record: _check_shard(folder, record), records):
            problems += found
            report()
    recorded = {record.shard for record in records}
    problems += [
        f"{tar}: has no valid commit record" for tar in sorted(folder.glob("*.tar")) if tar.name not in recorded
    ]
    problems += _check_index(folder, records)
    return Verified(
        shards=len(records),
        samples=sum(record.num_samples for record in records),
        regions=sum(record.num_regions for record in records),
        failures=sum(len(record.failures) for record in records),
        problems=tuple(problems),
    )


def _check_shard(folder: Path, record: CommitRecord) -> list[str]:
    path = folder / record.shard
    if not path.is_file():
        return [f"{path}: is absent, its commit record is there"]
    if path.stat().st_size != record.bytes:
        return [f"{path}: {path.stat().st_size} bytes, {record.bytes} are recorded"]
    if file_sha256(path) != record.sha256:
        return [f"{path}: SHA-256 is not the recorded one"]
    samples = regions = 0
    try:
        for sample in iterate_shard(path):
            samples += 1
            frames, kept, width = sample.regions.features.shape
            made = record.provenance
            if (kept, width) != (made.regions, made.feature_dim) or frames not in (1, made.frames):
                return [f"{path}: sample {sample.key}: features {[frames, kept, width]} are not what was asked for"]
            regions += int(sample.regions.count.sum())
    except (ShardError, SampleError) as error:
        return [str(error)]
    problems = []
    if samples != record.num_samples:
        problems.append(f"{path}: {samples} samples, {record.num_samples} are recorded")
    if regions != record.num_regions:
        problems.append(f"{path}: {regions} regions, {record.num_regions} are recorded")
    return problems


def _check_index(folder: Path, records: list[CommitRecord]) -> list[str]:
    try:
        index = read_index(folder)
    except InputError as error:
        return [error.message]
    problems = [
        f"{folder / record.shard}: made differently from the index: {difference}"
        for record in records
        if (difference := provenance_difference(index.provenance, record.provenance))
    ]
    listed = {entry.url: entry.sha256 for entry in index.shardlist}
    if listed != {record.shard: record.sha256 for record in records}:
        problems.append(f"{folder / INDEX_NAME}: does not list the committed shards; run extract again to remake it")
    return problems
