"""Progress of an extraction: a bar with frames/s and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 10.0


class ExtractionProgress:
    """Counts items and frames; use as a context manager. Written to standard error."""

    def __init__(self, total_items: int) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("extract"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("items"),
            TextColumn("{task.fields[rate]:.1f} frames/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} failed"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("extract", total=total_items, rate=0.0, failed=0)
        self._total = total_items
        self._items = self._frames = self._failed = 0
        self._started = self._spoke = time.monotonic()

    def __enter__(self) -> ExtractionProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def skip(self, items: int) -> None:
        """Items of shards that were committed before."""
        self._total -= items
        self._bar.update(self._task, total=self._total)

    def item(self, frames: int) -> None:
        """One item is done; with no frames it failed."""
        self.advance(items=1, frames=frames, failed=int(frames == 0))

    def advance(self, items: int, frames: int, failed: int) -> None:
        """Several items are done."""
        self._items += items
        self._frames += frames
        self._failed += failed
        now = time.monotonic()
        rate = self._frames / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=self._items, rate=rate, failed=self._failed)
        if not self._console.is_terminal and now - self._spoke >= _PLAIN_EVERY_S:
            self._spoke = now
            left = (self._total - self._items) * (now - self._started) / max(self._items, 1)
            self._console.print(
                f"extract: {self._items}/{self._total} items, {rate:.1f} frames/s,"
                f" {self._failed} failed, about {left:.0f} s left",
                highlight=False,
            )
