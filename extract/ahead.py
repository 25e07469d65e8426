"""Frames decoded ahead of the detector: in order, by a few threads, and never more clips than agreed on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
_STOP_EVERY_S = 0.1


def ahead(
    items: Iterable[ItemT],
    work: Callable[[ItemT], ResultT],
    *,
    threads: int,
    most: int,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[tuple[ItemT, ResultT]]:
    """Each item with ``work(item)``, in order; the next ones are worked on meanwhile by ``threads`` threads.

    most: items begun and not yet given out. It bounds memory whatever the consumer does; ``threads`` if that is more.
    stop: makes work that is under way end soon; called where nobody wants its results any more.
    What ``work`` raises is raised at its item's turn.
    """
    waiting: deque[tuple[ItemT, Future[ResultT]]] = deque()
    upcoming = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < max(most, threads) and (item := next(upcoming, None)) is not None:
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        unfinished = {future for _, future in waiting if not future.done()}
        while unfinished:
            stop()
            unfinished = wait(unfinished, timeout=_STOP_EVERY_S).not_done
