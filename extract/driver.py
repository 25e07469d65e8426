"""One extraction from plan to index: skips what is committed, makes the rest here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_specs import atomic
from data_specs.configuration import dump
from data_specs.errors import InputError
from data_specs.shard_index import ShardIndex, build_index, write_labels
from data_specs.shards import CommitRecord, Provenance, committed, provenance_difference, record_paths, records
from extract.folder_lock import alone_in
from extract.frames import check_tools
from extract.plan import Plan, ShardPlan
from extract.progress import ExtractionProgress
from extract.settings import ExtractionSettings
from extract.worker import Worker

CONFIG_NAME = "config.yaml"


@dataclass(frozen=True)
class Outcome:
    """index: of the whole folder. planned: the records of this run's shards. skipped: shards committed before."""

    index: ShardIndex
    planned: tuple[CommitRecord, ...]
    skipped: int

    @property
    def failures(self) -> int:
        return sum(len(record.failures) for record in self.planned)


def run_extraction(
    settings: ExtractionSettings, plan: Plan, provenance: Provenance, workers: int, address: str | None
) -> Outcome:
    """Makes every shard of the plan that is not committed yet, then the index.

    workers: 0 makes the shards in this process; more start that many Ray workers. address: of a running Ray cluster.

    Raises:
        InputError: the folder holds shards that were planned or made differently.
    """
    if not settings.root.is_dir():
        raise InputError(f"--root {settings.root}: no such folder; it is where the manifest's media paths start")
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{settings.out}: cannot be made: {error.strerror}; choose another --out") from None
    check_tools(settings.limits.limits())
    with alone_in(settings.out):
        atomic.remove_leftovers(settings.out)
        _refuse_foreign(settings.out, plan, provenance)
        outcome = _make(settings, plan, provenance, workers, address)
        atomic.remove_leftovers(settings.out)  # of workers that died on the way
        return outcome


def _make(
    settings: ExtractionSettings, plan: Plan, provenance: Provenance, workers: int, address: str | None
) -> Outcome:
    skipped: list[CommitRecord] = []
    with ExtractionProgress(plan.num_items) as progress:
        todo = _uncommitted(settings.out, plan, provenance, skipped, progress)
        if workers == 0:
            made = _make_here(settings, todo, provenance, progress)
        else:
            from extract.cluster import make_on_cluster

            made = make_on_cluster(settings, todo, provenance, workers, address, progress)
        planned = (*skipped, *made)
    write_labels(settings.out, settings.detector.classes)
    described = settings.model_copy(update={"root": Path(), "out": Path()})  # where the files stood changes nothing
    atomic.write_text(settings.out / CONFIG_NAME, dump(described))
    index = build_index(settings.out, records(settings.out))
    return Outcome(index, planned, len(skipped))


def _make_here(
    settings: ExtractionSettings, todo: Iterable[ShardPlan], provenance: Provenance, progress: ExtractionProgress
) -> list[CommitRecord]:
    worker: Worker | None = None
    made = []
    for shard in todo:
        worker = worker or Worker(settings)
        made.append(worker.extract(shard, provenance, progress.item))
    return made


def _uncommitted(
    folder: Path,
    plan: Plan,
    provenance: Provenance,
    skipped: list[CommitRecord],
    progress: ExtractionProgress,
) -> Iterator[ShardPlan]:
    """Shards that are still to be made; the records of the others go to ``skipped``."""
    for shard in plan:
        record = committed(folder, shard.name)
        if record is None:
            yield shard
            continue
        if record.plan_hash != shard.hash:
            raise InputError(
                f"{folder}/{record.shard} was made from another plan (manifest rows or --videos-per-shard differ);"
                " choose another --out"
            )
        skipped.append(record)
        progress.skip(len(shard.items))


def _refuse_foreign(folder: Path, plan: Plan, provenance: Provenance) -> None:
    splits = {name.rpartition("-")[0] for name in plan.names}
    planned = set(plan.names)
    for path in record_paths(folder):
        record = committed(folder, path.stem)
        if record is None:
            continue
        if record.provenance != provenance:
            difference = provenance_difference(record.provenance, provenance)
            raise InputError(f"{folder}/{record.shard} was made differently ({difference}); choose another --out")
        if record.name not in planned and record.name.rpartition("-")[0] in splits:
            raise InputError(f"{folder}/{record.shard} is not in this plan; choose another --out")
