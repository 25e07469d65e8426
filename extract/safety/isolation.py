"""Items done in a child process, one at a time, so that the item that kills its worker is known for certain.

A worker that dies takes the knowledge of its last item with it, and may have done nothing wrong: somebody killed it,
its machine was taken away. A child is watched by its parent, which sees how it ended, and on which item.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from data_specs.errors import InputError
from data_specs.failures import Failure, Reason
from data_specs.manifest import Item
from data_specs.orphans import end_with_parent
from data_specs.samples import Sample
from data_specs.shards import ShardError
from extract.safety.attempts import Mark

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Work = Callable[[Item], Sample | Failure]

_TRIES, _STARTS = 2, 3
_WORKERS = 3  # careful ones that may die over an item; two may have been killed by somebody else
_START_S, _BEAT_S = 600.0, 1.0


def each_alone(
    items: Iterable[Item], prepare: Callable[[], Work], patience_s: float, mark: Mark, alive: Callable[[], None]
) -> Iterator[tuple[Item, Sample | Failure]]:
    """Each item with its result; one on which two children die, fail or say nothing is ``killed_worker``.

    prepare: called once in each child, for what does the items there. patience_s: seconds an item may take.
    mark: of the shard; an item that took this very process with it before, again and again, is ``killed_worker`` too.
    alive: called while a child starts, which may take longer than an item.

    Raises:
        ShardError: a child cannot start at all.
        InputError: a child says so, for example of its detector.
    """
    child: _Child | None = None
    try:
        for item in items:
            ended = f"its worker, which did nothing else, died {_WORKERS} times"
            for _ in range(_TRIES if mark.deaths.get(item.id, 0) < _WORKERS else 0):
                child = child or _started(prepare, patience_s, alive)  # takes seconds, in which the item does nothing
                mark.enter(item.id)
                found = child.work(item)
                mark.leave()
                if not isinstance(found, str):
                    yield item, found
                    break
                child, ended = None, f"the process that worked on it ended {_TRIES} times: {found}"
            else:
                yield item, Failure(id=item.id, reason=Reason.KILLED_WORKER, detail=ended)
    finally:
        if child is not None:
            child.stop()


def _started(prepare: Callable[[], Work], patience_s: float, alive: Callable[[], None]) -> _Child:
    said = ""
    for _ in range(_STARTS):
        child = _Child(prepare, patience_s)
        said = child.wait_until_ready(alive)
        if not said:
            return child
    raise ShardError(f"a child process for items cannot start: {said}")


class _Child:
    """A process that does items."""

    def __init__(self, prepare: Callable[[], Work], patience_s: float) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA may hang
        self._pipe, theirs = context.Pipe()
        self._patience_s = patience_s
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, prepare), daemon=True, name="isolated items"
        )
        self._process.start()
        theirs.close()

    def wait_until_ready(self, alive: Callable[[], None]) -> str:
        """Empty when it is ready; else how it ended. ``alive`` is called meanwhile."""
        deadline = time.monotonic() + _START_S
        while not wait([self._pipe, self._process.sentinel], _BEAT_S) and time.monotonic() < deadline:
            alive()
        return self._answer(_BEAT_S) or ""  # type: ignore[return-value]  # nothing but words comes before the first item

    def work(self, item: Item) -> Sample | Failure | str:
        """The item's result, or in words how the child ended over it; it is gone then."""
        with suppress(BrokenPipeError):  # it died between two items: the answer below says so
            self._pipe.send(item)
        answer = self._answer(self._patience_s)
        return answer if answer is not None else "no answer"

    def stop(self) -> None:
        """Kills the child."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _answer(self, patience_s: float) -> Sample | Failure | str | None:
        """What it sent (None: it is ready), or in words how it ended."""
        late = threading.Event()
        timer = threading.Timer(patience_s, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            answer = self._pipe.recv()  # the timer ends it even where half an answer came
        except (EOFError, OSError):
            self._process.join()  # its end of the pipe is closed, so it has ended or is about to
            code = self._process.exitcode or 0
            answer = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if late.is_set():
                answer = f"no answer within {patience_s:g} s"
        finally:
            timer.cancel()
        if isinstance(answer, InputError):
            raise answer
        if isinstance(answer, Exception):
            answer = " ".join(f"{type(answer).__name__}: {answer}".split())
        if isinstance(answer, str):
            self.stop()
        return answer


def _serve(pipe: Connection, prepare: Callable[[], Work]) -> None:
    """The child: says that it is ready, then answers each item with its result until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which got it too, ends this process
    end_with_parent()  # in the middle of an item if need be: nobody waits for it
    try:
        work = prepare()
        pipe.send(None)
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        pipe.send(error)
