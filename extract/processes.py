"""Work spread over processes: a bounded number of tasks in flight, an end at once on Ctrl-C, and no orphans."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from data_specs.orphans import end_with_parent

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2  # tasks a process that wait or run; results are taken as they come


class WorkerDiedError(RuntimeError):
    """A process ended before its task did, perhaps for want of memory."""


def spread(work: Callable[[T], R], tasks: Iterable[T], processes: int) -> Generator[R, None, None]:
    """``work`` of each task, in any order, on ``processes`` processes; 1 works here, in order.

    Raises:
        WorkerDiedError: a process was killed.
    """
    if processes == 1:
        yield from map(work, tasks)
        return
    before = set(multiprocessing.active_children())
    upcoming = iter(tasks)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    running: set[Future[R]] = set()
    try:
        while True:
            while len(running) < _AHEAD * processes and (task := next(upcoming, None)) is not None:
                with _without_ctrl_c():  # this is when a process starts
                    running.add(pool.submit(work, task))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise WorkerDiedError(
            "a process that was at work has died, perhaps for want of memory; use fewer --workers"
        ) from None
    finally:
        if running:  # an end before the last task: nobody waits for what is under way
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Holds Ctrl-C back for the block. A process that starts in it never sees one: that is its parent's business."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
