"""Are the shards of a folder whole: each by itself (``extract.shard_check``), and all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np

from data_specs.atomic import TEMPORARY_SUFFIX
from data_specs.errors import InputError
from data_specs.location import Location
from data_specs.shard_index import read_index
from data_specs.shards import INDEX_NAME, CommitRecord, provenance_difference, record_paths
from data_specs.tar_members import iterate_ids
from extract.processes import spread
from extract.shard_check import ID_BYTES, CheckedShard, Problem, check_shard, id_hash

_HERE_BELOW_BYTES = 1 << 30  # a small folder is checked sooner than a process starts


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


def verify(folder: Location, workers: int, report: Callable[[], None]) -> Verified:
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
    checked: list[CheckedShard] = []
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


def _repeated_ids(folder: Location, checked: list[CheckedShard]) -> Iterator[Problem]:
    """Ids that stand more than once; only the shards that hold one are opened again, to name it."""
    halves = np.frombuffer(b"".join(one.ids for one in checked), "<u8").reshape(-1, 2)
    holder = np.repeat(np.arange(len(checked)), [len(one.ids) // ID_BYTES for one in checked])
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


def _check_together(folder: Location, records: list[CommitRecord]) -> Iterator[Problem]:
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
