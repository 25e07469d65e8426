"""One extraction from plan to index: skips what is committed, makes the rest here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from data_specs import atomic
from data_specs.configuration import dump
from data_specs.errors import InputError
from data_specs.location import store_errors
from data_specs.series import parse_shard_name
from data_specs.shard_index import ShardIndex, build_index, write_labels
from data_specs.shards import CommitRecord, Provenance, ShardError, iterate_records
from extract.frames import check_tools
from extract.plan import PlannedShards, ShardPlan
from extract.progress import ExtractionProgress
from extract.safety import attempts
from extract.safety.disk import full_disk_said
from extract.safety.folder_lock import alone_in
from extract.safety.termination import termination_as_interrupt
from extract.settings import ExtractionSettings
from extract.standing import standing_shards
from extract.worker import Worker

CONFIG_NAME = "config.yaml"


@dataclass(frozen=True)
class Outcome:
    """index: of the whole folder. made, skipped: shards of this run, and those that were there. failures: their items
    that gave no sample.
    """

    index: ShardIndex
    made: int
    skipped: int
    failures: int


def run_extraction(
    settings: ExtractionSettings, plan: PlannedShards, provenance: Provenance, workers: int, address: str | None
) -> Outcome:
    """Makes every shard of the plan that is not committed yet, then the index.

    workers: 0 makes the shards in this process; more start that many Ray workers. address: of a running Ray cluster.

    Raises:
        InputError: the folder holds shards that were planned or made differently.
        ShardError: the output cannot be written, or a shard's worker died too often. What is committed stays.
        KeyboardInterrupt: the process was asked to stop (SIGINT, SIGTERM), and has.
    """
    if not settings.root.is_dir():
        raise InputError(f"--root {settings.root}: no such folder; it is where the manifest's media paths start")
    try:
        with store_errors(settings.out):
            settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = error.strerror or error
        raise InputError(f"{settings.out}: cannot be made or reached: {said}; choose another --out") from None
    check_tools(settings.limits.limits())
    with alone_in(settings.out), full_disk_said(settings.out), termination_as_interrupt():
        atomic.remove_leftovers(settings.out)
        standing = standing_shards(settings.out, plan, provenance)
        try:
            outcome = _make(settings, plan, standing, provenance, workers, address)
        except attempts.WorkerLostError:
            raise
        except (KeyboardInterrupt, InputError, ShardError):
            attempts.forget(settings.out)  # workers that were stopped for it had done nothing wrong
            raise
        finally:  # no worker is alive here: what is left is of those that died or were stopped on the way
            atomic.remove_leftovers(settings.out)
        return outcome


def _make(
    settings: ExtractionSettings,
    plan: PlannedShards,
    standing: dict[str, int],
    provenance: Provenance,
    workers: int,
    address: str | None,
) -> Outcome:
    made, failures = 0, sum(standing.values())  # records are not kept, so memory does not grow with them
    with ExtractionProgress(plan.num_items) as progress:
        progress.skip(plan.items_of(standing))
        todo = plan.shards(set(plan.names) - standing.keys())
        if workers == 0:
            records = _make_here(settings, todo, provenance, progress)
        else:
            from extract.cluster import make_on_cluster

            records = make_on_cluster(settings, todo, provenance, workers, address, progress)
        with closing(records):
            for record in records:
                made += 1
                failures += len(record.failures)
    write_labels(settings.out, settings.detector.classes)
    rounds = {name.round for name in map(parse_shard_name, plan.names) if name is not None}
    if rounds == {0}:  # the limits of a retry are its own
        described = settings.model_copy(update={"root": Path(), "out": Path()})  # where the files stood changes nothing
        atomic.write_text(settings.out / CONFIG_NAME, dump(described))
    index = build_index(settings.out, iterate_records(settings.out))
    if lost := set(plan.names) - {entry.url.removesuffix(".tar") for entry in index.shardlist}:
        raise ShardError(
            f"{settings.out}: {len(lost)} shards, {min(lost)} among them, were made and are not there; do all nodes"
            " share that folder, and is no other run at work in it?"
        )
    return Outcome(index, made, len(standing), failures)


def _make_here(
    settings: ExtractionSettings, todo: Iterable[ShardPlan], provenance: Provenance, progress: ExtractionProgress
) -> Iterator[CommitRecord]:
    worker = Worker(settings)
    for shard in todo:
        yield worker.extract(shard, provenance, progress.item)
