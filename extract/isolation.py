"""Items done in a child process, one at a time, so that the item that kills its worker is known for certain.

A worker that dies takes the knowledge of its last item with it, and may have done nothing wrong: somebody killed it,
its machine was taken away. A child is watched by its parent, which sees how it ended, and on which item.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from data_specs.failures import Failure, Reason
from data_specs.manifest import Item
from data_specs.samples import Sample
from data_specs.shards import ShardError
from extract.settings import ExtractionSettings

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_TRIES = 2
_START_S, _BEAT_S = 600.0, 1.0


def each_alone(
    items: Iterable[Item], settings: ExtractionSettings, alive: Callable[[], None]
) -> Iterator[tuple[Item, Sample | Failure]]:
    """Each item with its result; one on which two children die, or give no answer in time, is ``killed_worker``.

    alive: called while a child starts, which may take longer than an item.

    Raises:
        ShardError: a child cannot start at all.
    """
    child: _Child | None = None
    try:
        for item in items:
            ended = ""
            for _ in range(_TRIES):
                child = child or _Child(settings, alive)
                found = child.work(item)
                if isinstance(found, Sample | Failure):
                    yield item, found
                    break
                child, ended = None, found
            else:
                detail = f"the process that worked on it ended {_TRIES} times: {ended}"
                yield item, Failure(id=item.id, reason=Reason.KILLED_WORKER, detail=detail)
    finally:
        if child is not None:
            child.stop()


class _Child:
    """A process with a worker of its own."""

    def __init__(self, settings: ExtractionSettings, alive: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA may hang
        self._pipe, theirs = context.Pipe()
        self._patience = settings.item_s
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, settings.model_dump()), daemon=True, name="isolated items"
        )
        self._process.start()
        theirs.close()
        deadline = time.monotonic() + _START_S
        while not wait([self._pipe, self._process.sentinel], _BEAT_S) and time.monotonic() < deadline:
            alive()
        ready = self._answer(0.0)
        if ready is not True:
            self.stop()
            raise ShardError(f"a child process for items cannot start: {ready}")

    def work(self, item: Item) -> Sample | Failure | str:
        """The item's result, or how the child ended over it (it is gone then). What the child raises is raised."""
        with suppress(BrokenPipeError):  # it died between two items: the answer below says so
            self._pipe.send(item)
        answer = self._answer(self._patience)
        if isinstance(answer, str):
            self.stop()
        return answer

    def stop(self) -> None:
        """Kills the child."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _answer(self, patience: float) -> object:
        if not wait([self._pipe, self._process.sentinel], patience):
            return f"no answer within {patience:g} s"
        try:
            answer = self._pipe.recv() if self._pipe.poll() else None
        except (EOFError, ConnectionResetError):
            answer = None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        self._process.join()  # its end of the pipe is closed, so it has ended or is about to
        code = self._process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(pipe: Connection, settings: dict) -> None:
    """The child: says that it is ready, then answers each item with its result until the parent goes."""
    from extract.worker import Worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which got it too, ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(ExtractionSettings.model_validate(settings))
        worker.load()
        pipe.send(True)
        while True:
            pipe.send(worker.result(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of an item if need be: nobody waits for it
