"""The Ray driver: one actor a worker, a bounded number of shards in flight, finite retries. The only Ray import here.

Retried work is harmless: a shard's bytes depend on its plan alone, and it is committed by a rename and a record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from data_specs.errors import InputError
from data_specs.shards import CommitRecord, Provenance, ShardError
from extract.plan import ShardPlan
from extract.progress import ExtractionProgress
from extract.settings import ExtractionSettings
from extract.worker import Worker

_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 256 << 20  # only plans and records travel, never frames
_POLL_S = 0.5

log = logging.getLogger(__name__)


@ray.remote(max_restarts=-1, max_task_retries=0, max_concurrency=2)
class ShardActor:
    """A worker in a process of its own. A second thread answers ``progress`` while a shard is being made."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._worker = Worker(ExtractionSettings.model_validate(settings))
        self._items = self._frames = self._failed = 0

    @ray.method(max_task_retries=-1)
    def ready(self) -> None:
        """Answers once the actor was placed, or restarted, and its detector loaded."""

    def extract(self, shard: ShardPlan, provenance: dict[str, Any]) -> str:
        """Makes one shard; returns its commit record as JSON."""
        record = self._worker.extract(shard, Provenance.model_validate(provenance), self._count)
        return record.model_dump_json()

    def progress(self) -> tuple[int, int, int]:
        """Items, frames and failures since this actor's process started."""
        return self._items, self._frames, self._failed

    def _count(self, frames: int) -> None:
        self._items += 1
        self._frames += frames
        self._failed += frames == 0


def make_on_cluster(
    settings: ExtractionSettings,
    todo: Iterable[ShardPlan],
    provenance: Provenance,
    workers: int,
    address: str | None,
    progress: ExtractionProgress,
) -> list[CommitRecord]:
    """Makes the shards with ``workers`` actors, on a local cluster or the one at ``address``.

    Raises:
        InputError: the cluster cannot be reached or has no room for that many workers.
        ShardError: a shard's worker died three times.
    """
    needs = {"CPU": settings.threads, "GPU": 1 if settings.device.startswith("cuda") else 0}
    absolute = settings.model_copy(update={"root": settings.root.absolute(), "out": settings.out.absolute()})
    with _cluster(workers, needs, address):
        _refuse_too_many(workers, needs)
        options = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}
        actors = [ShardActor.options(**options).remote(absolute.model_dump()) for _ in range(workers)]
        return list(_drive(actors, iter(todo), provenance, progress))


def _drive(
    actors: list[Any], todo: Iterator[ShardPlan], provenance: Provenance, progress: ExtractionProgress
) -> Iterator[CommitRecord]:
    described = provenance.model_dump()
    running: dict[Any, tuple[Any, ShardPlan, int]] = {}
    starting = {actor.ready.remote(): actor for actor in actors}
    idle: list[Any] = []
    again: list[tuple[ShardPlan, int]] = []
    meter = _Meter(actors, progress)
    while True:
        while idle and (work := again.pop() if again else _first_attempt(todo)) is not None:
            actor, (shard, attempt) = idle.pop(), work
            running[actor.extract.remote(shard, described)] = (actor, shard, attempt)
        if not running and not starting:
            meter.finish()
            return
        done, _ = ray.wait([*running, *starting], num_returns=1, timeout=_POLL_S)
        meter.poll()
        for reference in done:
            if reference in starting:
                idle.append(_started(starting.pop(reference), reference))
                continue
            actor, shard, attempt = running.pop(reference)
            try:
                yield CommitRecord.model_validate_json(ray.get(reference))
                idle.append(actor)
            except ray.exceptions.RayActorError as error:
                if attempt == _ATTEMPTS:
                    cause = _cause(error)
                    raise ShardError(f"{shard.name}: its worker died {_ATTEMPTS} times, last of: {cause}") from None
                log.warning("%s: its worker died, attempt %d of %d", shard.name, attempt + 1, _ATTEMPTS)
                again.append((shard, attempt + 1))
                starting[actor.ready.remote()] = actor


def _first_attempt(todo: Iterator[ShardPlan]) -> tuple[ShardPlan, int] | None:
    shard = next(todo, None)
    return None if shard is None else (shard, 1)


def _started(actor: Any, reference: Any) -> Any:
    try:
        ray.get(reference)
    except ray.exceptions.RayActorError as error:
        raise ShardError(f"a worker cannot start: {_cause(error)}") from None
    return actor


def _cause(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


class _Meter:
    """Asks the actors now and then how far they are."""

    def __init__(self, actors: list[Any], progress: ExtractionProgress) -> None:
        self._actors = actors
        self._progress = progress
        self._seen = {actor: (0, 0, 0) for actor in actors}
        self._asked: dict[Any, Any] = {}

    def finish(self) -> None:
        """Takes the last answers."""
        for actor in self._actors:
            if actor not in self._asked:
                self._asked[actor] = actor.progress.remote()
        ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=10 * _POLL_S)
        self.poll()

    def poll(self) -> None:
        """Takes the answers that have come and asks again; never waits."""
        for actor in self._actors:
            if actor not in self._asked:
                self._asked[actor] = actor.progress.remote()
        ready, _ = ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=0)
        for actor, reference in list(self._asked.items()):
            if reference not in ready:
                continue
            del self._asked[actor]
            try:
                now = ray.get(reference)
            except ray.exceptions.RayActorError:
                self._seen[actor] = (0, 0, 0)
                continue
            self._progress.advance(*(max(a - b, 0) for a, b in zip(now, self._seen[actor], strict=True)))
            self._seen[actor] = now


@contextmanager
def _cluster(workers: int, needs: dict[str, int], address: str | None) -> Iterator[None]:
    """Ray for the length of the block: the cluster at ``address``, else one of our own on this machine."""
    if ray.is_initialized():
        yield
        return
    own = {
        "address": "local",  # said, because RAY_ADDRESS would stand in for nothing
        "num_cpus": workers * needs["CPU"],
        "num_gpus": workers * needs["GPU"],
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    if address is None and needs["GPU"]:
        own.pop("num_gpus")  # Ray counts them; too few is said before any worker is asked for
    try:
        ray.init(**({"address": address} if address else own), logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {_cause(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_too_many(workers: int, needs: dict[str, int]) -> None:
    """More workers than there is room for would wait for ever."""
    there = ray.cluster_resources()
    for kind, amount in needs.items():
        if workers * amount > there.get(kind, 0):
            raise InputError(
                f"{workers} workers of {amount} {kind} each want more than the {there.get(kind, 0):g} {kind} that Ray"
                " has; use fewer --workers"
            )
