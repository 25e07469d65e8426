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

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Work = Callable[[Item], Sample | Failure]

_TRIES = 2
_START_S, _BEAT_S = 600.0, 1.0


def each_alone(
    items: Iterable[Item], prepare: Callable[[], Work], patience_s: float, alive: Callable[[], None]
) -> Iterator[tuple[Item, Sample | Failure]]:
    """Each item with its result; one on which two children die, or give no answer in time, is ``killed_worker``.

    prepare: called once in each child, for what does the items there; what either raises is raised here.
    patience_s: seconds an item may take. alive: called while a child starts, which may take longer than an item.

    Raises:
        ShardError: a child cannot start at all.
    """
    child: _Child | None = None
    try:
        for item in items:
            ended = ""
            for _ in range(_TRIES):
                child = child or _Child(prepare, patience_s, alive)
                found = child.work(item)
                if not isinstance(found, str):
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
    """A process that does items."""

    def __init__(self, prepare: Callable[[], Work], patience_s: float, alive: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA may hang
        self._pipe, theirs = context.Pipe()
        self._patience_s = patience_s
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, prepare), daemon=True, name="isolated items"
        )
        self._process.start()
        theirs.close()
        deadline = time.monotonic() + _START_S
        while not wait([self._pipe, self._process.sentinel], _BEAT_S) and time.monotonic() < deadline:
            alive()
        ready = self._answer(0.0)
        if isinstance(ready, str):
            self.stop()
            raise ShardError(f"a child process for items cannot start: {ready}")

    def work(self, item: Item) -> Sample | Failure | str:
        """The item's result, or how the child ended over it (it is gone then). What the child raises is raised."""
        with suppress(BrokenPipeError):  # it died between two items: the answer below says so
            self._pipe.send(item)
        answer = self._answer(self._patience_s)
        if isinstance(answer, str):
            self.stop()
        return answer

    def stop(self) -> None:
        """Kills the child."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _answer(self, patience_s: float) -> Sample | Failure | str | None:
        """What it sent (None: it is ready), or in words how it ended."""
        if not wait([self._pipe, self._process.sentinel], patience_s):
            return f"no answer within {patience_s:g} s"
        try:
            if self._pipe.poll():
                answer = self._pipe.recv()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        except (EOFError, ConnectionResetError):
            pass  # it ended before it had said anything, or in the middle of it
        self._process.join()  # its end of the pipe is closed, so it has ended or is about to
        code = self._process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(pipe: Connection, prepare: Callable[[], Work]) -> None:
    """The child: says that it is ready, then answers each item with its result until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which got it too, ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = prepare()
        pipe.send(None)
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of an item if need be: nobody waits for it
