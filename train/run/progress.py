"""How a run shows itself: a progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SHOWN = ("loss", "loss_global", "loss_local", "recall_v2t", "samples_per_s", "waiting")


class ProgressReport:
    """Shows every step in a terminal, else one line each ``every`` steps and at the end."""

    def __init__(self, total: int, done: int, every: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._total, self._every = total, every
        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        self._bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("train", total=total, completed=done, shown="")

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(line, markup=False)

    def step(self, metrics: Mapping[str, float]) -> None:
        """Shows the values of one step."""
        step = int(metrics["step"])
        shown = "  ".join(f"{name} {metrics[name]:.3g}" for name in _SHOWN)
        self._bar.update(self._task, completed=step, shown=shown)
        if not self.console.is_terminal and (step % self._every == 0 or step == self._total):
            self.say(f"step {step}/{self._total}  {shown}  lr {metrics['lr']:.2g}")
