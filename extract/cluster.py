"""The Ray driver: one actor a worker, a bounded number of shards in flight, finite retries. The only Ray import here.

Retried work is harmless: a shard's bytes depend on its plan alone, and it is committed by a rename and a record.
What comes and goes is the cluster's: a worker may wait for a node, lose it, and come back on another.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data_specs.errors import InputError
from data_specs.samples import SampleError
from data_specs.shards import CommitRecord, Provenance, ShardError
from extract.plan import ShardPlan
from extract.progress import ExtractionProgress
from extract.safety.attempts import WorkerLostError
from extract.safety.termination import termination_as_interrupt
from extract.settings import ExtractionSettings
from extract.worker import Worker

_OBJECT_STORE_BYTES = 256 << 20  # only plans and records travel, never frames
_POLL_S = 0.5
_LONGEST_PAUSE_S = 60.0
_ROOM_NOTICE_S = 60.0
_NOTHING = (0, 0, 0, 0)
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.RayTaskError,  # it raised what nobody foresaw, as with a GPU that is out of order
)
_FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # no other worker would fare better
_MOST_LOSSES = 5  # with their nodes, as often as the attempts
_GONE_S = 20.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """What a worker found wrong in a way that trying again does not mend, as a value: it crosses processes whole."""

    message: str
    usage: bool


@dataclass(frozen=True)
class Place:
    """A worker's node and process id: another pair is another process."""

    node: str
    pid: int


@ray.remote(max_restarts=-1, max_task_retries=0, max_concurrency=2)
class ShardActor:
    """A worker in a process of its own. A second thread answers ``progress`` while a shard is being made."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._worker = Worker(ExtractionSettings.model_validate(settings))
        self._items = self._frames = self._failed = self._beats = 0

    @ray.method(max_task_retries=-1)
    def placed(self) -> Place:
        """Where it is, as soon as it is anywhere."""
        return Place(ray.get_runtime_context().get_node_id(), os.getpid())

    def load(self, provenance: dict[str, Any]) -> Refusal | None:
        """Loads the detector and looks whether this node can make what is asked for."""
        return _refusing(lambda: self._worker.check(Provenance.model_validate(provenance)))

    def extract(self, shard: ShardPlan, provenance: dict[str, Any]) -> Refusal | str:
        """Makes one shard; gives its commit record as JSON."""
        return _refusing(lambda: self._extract(shard, provenance))

    def progress(self) -> tuple[int, int, int, int]:
        """Items, frames, failures and other signs of life since this actor's process started."""
        return self._items, self._frames, self._failed, self._beats

    def _extract(self, shard: ShardPlan, provenance: dict[str, Any]) -> str:
        described = Provenance.model_validate(provenance)
        return self._worker.extract(shard, described, self._count, self._beat).model_dump_json()

    def _count(self, frames: int) -> None:
        self._items += 1
        self._frames += frames
        self._failed += frames == 0

    def _beat(self) -> None:
        self._beats += 1


@ray.remote(num_cpus=0, max_retries=0)
def _end_process(pid: int) -> None:
    """Kills a worker of this node that answers nobody, and waits until it is gone; other processes are left alone."""
    deadline = time.monotonic() + _GONE_S
    while time.monotonic() < deadline:
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ShardActor"):
                return
            os.kill(pid, signal.SIGKILL)
        except OSError:
            return
        time.sleep(_POLL_S / 10)


def make_on_cluster(
    settings: ExtractionSettings,
    todo: Iterable[ShardPlan],
    provenance: Provenance,
    workers: int,
    address: str | None,
    progress: ExtractionProgress,
) -> Iterator[CommitRecord]:
    """Makes the shards with ``workers`` actors, on a local cluster or the one at ``address``; gives their records.

    Raises:
        InputError: the cluster cannot be reached, one of our own has no room for that many workers, or a worker
            cannot use its detector.
        ShardError: a shard's worker died ``settings.attempts`` times, or a shard cannot be written.
    """
    first = next(iter(todo := iter(todo)), None)
    if first is None:  # then nobody need be waited for
        return
    needs = {
        "CPU": max(settings.threads, settings.decoders),
        "GPU": settings.gpus_per_worker if settings.device.startswith("cuda") else 0,
    }
    absolute = settings.model_copy(update={"root": settings.root.absolute(), "out": settings.out.absolute()})
    with _cluster(workers, needs, address) as own:
        _refuse_too_many(workers, needs, address)
        options = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}
        actors = [ShardActor.options(**options).remote(absolute.model_dump()) for _ in range(workers)]
        foreman = _Foreman(actors, itertools.chain([first], todo), provenance, progress, settings)
        try:
            yield from foreman.run()
        finally:
            if not own:  # else they end with it
                foreman.dismiss()


@dataclass
class _Task:
    """A shard in a worker's hands. attempt: counted from 1. losses: earlier workers that went with their nodes."""

    actor: Any
    shard: ShardPlan
    attempt: int
    losses: int


@dataclass(frozen=True)
class _Loss:
    """A shard whose worker died, on which node, and what Ray says of it."""

    task: _Task
    node: str
    cause: str


class _Foreman:
    """Hands shards out, one to each worker at a time, and again when their worker was lost."""

    def __init__(
        self,
        actors: list[Any],
        todo: Iterator[ShardPlan],
        provenance: Provenance,
        progress: ExtractionProgress,
        settings: ExtractionSettings,
    ) -> None:
        self._actors, self._todo, self._settings = actors, todo, settings
        self._provenance = provenance.model_dump()
        self._meter = _Meter(actors, progress)
        self._placing = {actor.placed.remote(): actor for actor in actors}
        self._loading: dict[Any, Any] = {}
        self._deaths = dict.fromkeys(actors, 0)  # while loading, in a row
        self._places: dict[Any, Place] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, _Task] = {}
        self._again: list[tuple[float, int, _Loss]] = []
        self._exhausted = False
        self._waiting_since = time.monotonic()

    def run(self) -> Iterator[CommitRecord]:
        """Until every shard is made; see ``make_on_cluster``."""
        while True:
            self._hand_out()
            if self._exhausted and not self._running and not self._again:
                self._meter.finish()
                return
            awaited = [*self._running, *self._loading, *self._placing]
            done, _ = ray.wait(awaited, num_returns=1, timeout=_POLL_S) if awaited else ([], [])
            if not awaited:  # all idle, and what is left has to pause
                time.sleep(_POLL_S)
            self._meter.poll()
            self._replace_hung()
            self._notice_want_of_room()
            for reference in done:
                if reference in self._placing:
                    self._place(reference)
                elif reference in self._loading:
                    self._welcome(reference)
                elif (record := self._take(reference)) is not None:
                    yield record

    def dismiss(self) -> None:
        """Ends the workers and waits until they are gone, so that nobody writes any more."""
        for actor in self._actors:
            ray.kill(actor)
        if ends := [self._end(place) for place in self._places.values()]:
            ray.wait(ends, num_returns=len(ends), timeout=_GONE_S)

    def _hand_out(self) -> None:
        while self._idle and (work := self._next()) is not None:
            actor = self._idle.pop()
            self._meter.begin(actor)
            task = _Task(actor, *work)
            self._running[actor.extract.remote(task.shard, self._provenance)] = task

    def _next(self) -> tuple[ShardPlan, int, int] | None:
        if self._again and self._again[0][0] <= time.monotonic():
            return self._once_more(heapq.heappop(self._again)[2])
        shard = None if self._exhausted else next(self._todo, None)
        self._exhausted = shard is None
        return None if shard is None else (shard, 1, 0)

    def _place(self, reference: Any) -> None:
        actor = self._placing.pop(reference)
        try:
            place = ray.get(reference)
        except _DEATHS as error:
            raise WorkerLostError(f"a worker cannot start: {_cause(error)}") from None
        if self._places.get(actor) == place:  # it was thought dead, and may still be at work on its shard
            ray.kill(actor, no_restart=False)
            self._end(place)
            self._placing[actor.placed.remote()] = actor
            return
        self._places[actor] = place
        self._meter.begin(actor)
        self._loading[actor.load.remote(self._provenance)] = actor

    def _welcome(self, reference: Any) -> None:
        actor = self._loading.pop(reference)
        try:
            _accepted(ray.get(reference))
        except _DEATHS as error:
            self._deaths[actor] += 1
            if self._deaths[actor] >= self._settings.attempts:
                raise WorkerLostError(
                    f"a worker died {self._deaths[actor]} times while it loaded its detector, last of: {_cause(error)}"
                ) from None
            log.warning("a worker died while it loaded its detector: %s", _cause(error))
            self._restart(actor, error)
            return
        self._deaths[actor] = 0
        self._idle.append(actor)

    def _take(self, reference: Any) -> CommitRecord | None:
        task = self._running.pop(reference)
        try:
            record = CommitRecord.model_validate_json(_accepted(ray.get(reference)))
        except _DEATHS as error:
            self._put_back(task, error)
            return None
        self._idle.append(task.actor)
        return record

    def _put_back(self, task: _Task, error: Exception) -> None:
        """The shard waits, twice as long after every death, and the worker is awaited."""
        pause = min(2.0 ** (task.attempt + task.losses), _LONGEST_PAUSE_S)
        loss = _Loss(task, self._places[task.actor].node, _cause(error))
        heapq.heappush(self._again, (time.monotonic() + pause, id(loss), loss))
        self._restart(task.actor, error)

    def _restart(self, actor: Any, error: Exception) -> None:
        if isinstance(error, ray.exceptions.RayTaskError):  # it lives, but nobody knows in which state
            ray.kill(actor, no_restart=False)
        self._placing[actor.placed.remote()] = actor

    def _once_more(self, loss: _Loss) -> tuple[ShardPlan, int, int]:
        """A worker whose node went with it, which is known only after a while, had no part in its death."""
        task, most = loss.task, self._settings.attempts
        blamed = any(node["NodeID"] == loss.node and node["Alive"] for node in ray.nodes())
        attempt, losses = task.attempt + blamed, task.losses + (not blamed)
        if attempt > most or losses > _MOST_LOSSES * most:
            raise WorkerLostError(
                f"{task.shard.name}: its worker died {attempt - 1} times and was lost with its node {losses} times,"
                f" last of: {loss.cause}"
            )
        said = f"died, attempt {attempt} of {most}" if blamed else "was lost with its node"
        log.warning("%s: its worker %s", task.shard.name, said)
        return task.shard, attempt, losses

    def _replace_hung(self) -> None:
        busy = {task.actor: task.shard.name for task in self._running.values()}
        busy |= dict.fromkeys(self._loading.values(), "the detector")
        for actor, work in busy.items():
            silent = self._meter.silence(actor)
            if silent <= self._settings.silence_s:
                continue
            log.warning("%s: nothing was finished for %.0f s; its worker is replaced", work, silent)
            self._meter.begin(actor)
            ray.kill(actor, no_restart=False)
            self._end(self._places[actor])  # a stopped process does not hear Ray

    def _end(self, place: Place) -> Any:
        where = NodeAffinitySchedulingStrategy(place.node, soft=False)
        return _end_process.options(scheduling_strategy=where).remote(place.pid)

    def _notice_want_of_room(self) -> None:
        if self._running or self._idle or self._loading:
            self._waiting_since = time.monotonic()
        elif time.monotonic() - self._waiting_since > _ROOM_NOTICE_S:
            self._waiting_since = time.monotonic()
            log.warning("no worker has a place yet; the cluster has %s", _resources())


class _Meter:
    """Asks the actors now and then how far they are, and knows since when each has been silent."""

    def __init__(self, actors: list[Any], progress: ExtractionProgress) -> None:
        self._actors = actors
        self._progress = progress
        self._seen = {actor: _NOTHING for actor in actors}
        self._moved = dict.fromkeys(actors, time.monotonic())
        self._asked: dict[Any, Any] = {}

    def begin(self, actor: Any) -> None:
        """The actor has got work, so its silence is counted from now."""
        self._moved[actor] = time.monotonic()

    def silence(self, actor: Any) -> float:
        """Seconds since the actor was last known to finish an item, or to get work."""
        return time.monotonic() - self._moved[actor]

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
            except _DEATHS:
                self._seen[actor] = _NOTHING
                continue
            if now != self._seen[actor]:
                self._moved[actor] = time.monotonic()
            items, frames, failed, _ = (max(a - b, 0) for a, b in zip(now, self._seen[actor], strict=True))
            self._progress.advance(items, frames, failed)
            self._seen[actor] = now


def _refusing(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except InputError as error:
        return Refusal(error.message, usage=True)
    except (ShardError, SampleError) as error:
        return Refusal(str(error), usage=False)
    except OSError as error:
        if error.errno in _FINAL:
            return Refusal(str(error), usage=False)
        raise


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refusal):
        raise InputError(answer.message) if answer.usage else ShardError(answer.message)
    return answer


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _cluster(workers: int, needs: dict[str, float], address: str | None) -> Iterator[bool]:
    """Ray for the length of the block: the cluster at ``address``, else one of our own (True) on this machine."""
    if ray.is_initialized():
        yield False
        return
    own = {
        "address": "local",  # said, because RAY_ADDRESS would stand in for nothing
        "num_cpus": workers * needs["CPU"],
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    if not needs["GPU"]:
        own["num_gpus"] = 0  # else Ray counts them; too few is said before any worker is asked for
    try:
        ray.init(**({"address": address} if address else own), logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {_cause(error)}") from None
    try:
        with termination_as_interrupt():  # Ray has put a handler of its own there, which aborts
            yield address is None
    finally:
        ray.shutdown()


def _refuse_too_many(workers: int, needs: dict[str, float], address: str | None) -> None:
    """In a cluster of our own, more workers than there is room for would wait for ever; another's may grow."""
    there = ray.cluster_resources()
    short = [kind for kind, amount in needs.items() if workers * amount > there.get(kind, 0)]
    if not short:
        return
    kind, said = short[0], f"{workers} workers of {needs[short[0]]:g} {short[0]} each"
    if address:
        log.warning("%s want more than the cluster has now (%s); those without a place wait", said, _resources())
        return
    raise InputError(f"{said} want more than the {there.get(kind, 0):g} {kind} that Ray has; use fewer --workers")


def _resources() -> str:
    there = ray.cluster_resources()
    return ", ".join(f"{there.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
