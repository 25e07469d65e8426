"""What of a manifest is in the shards: expected, extracted, failed by reason, and not yet tried.

Ids are read from the headers of the tars, not taken on trust from the records, and compared with the manifest as
Arrow columns: millions of them take tens of megabytes. Failures that a later round of retries made good count as
extracted (``data_specs.outstanding``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.location import Location
from data_specs.manifest import Manifest
from data_specs.manifest_rows import plain_texts
from data_specs.outstanding import outstanding_failures
from data_specs.series import in_series_order
from data_specs.shards import CommitRecord, ShardError, read_record, record_paths
from data_specs.tar_members import iterate_ids
from extract.processes import spread

_HERE_BELOW_SHARDS = 512  # so many headers are read sooner than a process starts
_BUFFER = 16 << 10  # a sample's JSON and the headers around it in one read


@dataclass
class SplitCoverage:
    """Counts of one split; ``extracted + failed + pending == expected``."""

    expected: int = 0
    extracted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(self.reasons.values())

    @property
    def pending(self) -> int:
        return self.expected - self.extracted - self.failed


@dataclass(frozen=True)
class Coverage:
    """By split, and every failure that still stands, in the manifest's order.

    foreign: ids in the shards that the manifest does not have.
    """

    splits: dict[str, SplitCoverage]
    failures: tuple[Failure, ...]
    foreign: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True when every row of the manifest is in the shards and nothing else is."""
        return not self.foreign and all(split.extracted == split.expected for split in self.splits.values())

    def as_dict(self) -> dict:
        """The same, for JSON."""
        return {
            "splits": {
                name: {
                    "expected": split.expected,
                    "extracted": split.extracted,
                    "failed": dict(sorted(split.reasons.items())),
                    "pending": split.pending,
                }
                for name, split in self.splits.items()
            },
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "foreign": list(self.foreign),
        }


@dataclass(frozen=True)
class _Shard:
    """A commit record and the ids of its tar (Arrow strings)."""

    record: CommitRecord
    ids: pa.Array


def measure_coverage(
    folder: Location,
    manifest: Manifest,
    split: str | None = None,
    workers: int = 1,
    report: Callable[[], None] = lambda: None,
) -> Coverage:
    """Compares a folder of shards with a manifest.

    split: only this one; None: all. workers: processes that read tars. report: called after each shard.

    Raises:
        InputError: no committed shard is there, or the manifest has no such split.
        ShardError: a record or a tar is broken, or two tars hold the same id.
        extract.processes.WorkerDiedError: a process was killed.
    """
    rows = np.array(manifest.rows_of(split))
    shards = _read_shards(folder, workers, report)
    known = manifest.table["id"].combine_chunks()
    extracted, foreign = _rows_of_samples(folder, shards, known)
    standing = list(_standing(shards).values())
    failed = pc.index_in(pa.array([f.id for f in standing], pa.string()), value_set=known)
    foreign += [standing[place].id for place in np.flatnonzero(failed.is_null())]
    reason_of = {row: failure for row, failure in zip(failed.to_pylist(), standing, strict=True) if row is not None}
    counted = np.zeros(len(manifest), bool)
    counted[rows] = True
    kept = [row for row in sorted(reason_of) if counted[row] and not extracted[row]]
    splits = _count(manifest, split, extracted & counted, {row: reason_of[row] for row in kept})
    return Coverage(splits, tuple(reason_of[row] for row in kept), tuple(foreign))


def _read_shards(folder: Location, workers: int, report: Callable[[], None]) -> list[_Shard]:
    """All committed shards of a folder, in series order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of shards; make it with: python -m extract run --out {folder}")
    paths = record_paths(folder)
    if not paths:
        raise InputError(f"{folder}: holds no committed shard; make some with: python -m extract run --out {folder}")
    by_name: dict[str, _Shard] = {}
    processes = 1 if len(paths) < _HERE_BELOW_SHARDS else workers
    with closing(spread(_read_shard, paths, processes)) as results:
        for found in results:
            by_name[found.record.name] = found
            report()
    return [by_name[name] for name in in_series_order(by_name)]


def _read_shard(path: Location) -> _Shard:
    record = read_record(path)
    tar = path.with_name(record.shard)
    try:
        with tar.open("rb", buffering=_BUFFER) as stream:
            ids = list(iterate_ids(stream, str(tar), tar.stat().st_size))
    except FileNotFoundError:
        raise ShardError(f"{tar}: no such shard") from None
    if len(ids) != record.num_samples:
        raise ShardError(f"{tar}: holds {len(ids)} samples, {record.num_samples} are recorded")
    return _Shard(record, pa.array(ids, pa.string()))


def _rows_of_samples(folder: Location, shards: list[_Shard], known: pa.Array) -> tuple[NDArray[np.bool_], list[str]]:
    """Which rows of the manifest have a sample, and the ids of samples that have no row."""
    ids = pa.chunked_array([shard.ids for shard in shards], pa.string())
    places = pc.index_in(ids, value_set=known)
    rows = pc.fill_null(places, -1).to_numpy()
    there = np.bincount(rows[rows >= 0], minlength=len(known))
    foreign = ids.filter(places.is_null())
    if (there > 1).any():
        _refuse_repeated(folder, shards, known[int(np.argmax(there > 1))].as_py())
    if pc.count_distinct(foreign).as_py() != len(foreign):
        twice = next(e["values"] for e in pc.value_counts(foreign).to_pylist() if e["counts"] > 1)
        _refuse_repeated(folder, shards, twice)
    return there > 0, foreign.to_pylist()


def _refuse_repeated(folder: Location, shards: list[_Shard], identifier: str) -> None:
    holders = [shard.record.shard for shard in shards if pc.index(shard.ids, identifier).as_py() >= 0]
    raise ShardError(
        f"{folder / holders[-1]}: {identifier!r} stands in another shard too ({holders[0]});"
        f" look with: python -m extract verify {folder}"
    )


def _standing(shards: list[_Shard]) -> dict[str, Failure]:
    ids = {shard.record.name: shard.ids for shard in shards}
    return outstanding_failures((shard.record for shard in shards), lambda record: ids[record.name].to_pylist())


def _count(
    manifest: Manifest, split: str | None, extracted: NDArray[np.bool_], failures: dict[int, Failure]
) -> dict[str, SplitCoverage]:
    texts = plain_texts(manifest.table["split"])
    counts = manifest.counts()
    found = {name: SplitCoverage(expected=counts[name]) for name in ([split] if split else sorted(counts))}
    for entry in pc.value_counts(texts.filter(pa.array(extracted))).to_pylist():
        found[entry["values"]].extracted = entry["counts"]
    of_failures = texts.take(pa.array(list(failures), pa.int64())).to_pylist()
    for name, failure in zip(of_failures, failures.values(), strict=True):
        found[name].reasons[failure.reason.value] += 1
    return found
