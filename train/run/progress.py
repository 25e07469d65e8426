"""How a run shows itself: a bar and two or three lines in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BETWEEN = "  "
_LEAST_BAR, _MOST_BAR = 8, 40


class ProgressReport:
    """Shows every step in a terminal, else one line each ``every`` steps and at the end. Silent unless ``shown``:
    of several ranks one speaks."""

    def __init__(self, total: int, done: int, every: int, shown: bool = True, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._total, self._done, self._every, self._shown = total, done, every, shown
        self._metrics: Mapping[str, float] = {}
        self._live = Live(console=self.console, get_renderable=self._picture, refresh_per_second=4)
        self._is_live = shown and self.console.is_terminal

    def __enter__(self) -> ProgressReport:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._live.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        if self._shown:
            self.console.print(line, markup=False)

    def step(self, metrics: Mapping[str, float]) -> None:
        """Shows the values of one step, those of ``describe`` that are among them."""
        self._done, self._metrics = int(metrics["step"]), metrics
        if not self._is_live and (self._done % self._every == 0 or self._done == self._total):
            parts = [part for line in describe(metrics) for part in line]
            self.say(_BETWEEN.join([f"step {self._done}/{self._total}", *_time_left(metrics), *parts]))

    def validation(self, metrics: Mapping[str, float]) -> None:
        """A line that stays, with the values of a validation."""
        values = (f"{name} {value:.4g}" for name, value in metrics.items() if name not in ("step", "epoch"))
        self.say(_BETWEEN.join([f"validation at step {int(metrics['step'])}", *values]))

    def _picture(self) -> Group:
        width = self.console.width
        lines = [line for parts in describe(self._metrics) for line in _folded(parts, width)]
        count, left = f"train {self._done:,}/{self._total:,}", _time_left(self._metrics)
        room = width - sum(len(part) + 1 for part in (count, *left))
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        if room < _LEAST_BAR:
            return Group(*(Text(line, no_wrap=True) for line in _folded([count, *left], width)), *texts)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(count, ProgressBar(self._total, self._done, width=min(_MOST_BAR, room)), *left)
        return Group(bar, *texts)


def describe(metrics: Mapping[str, float]) -> list[list[str]]:
    """Two lines of what people read: how it learns, and what it takes. Values that are absent are left out."""
    learns = (
        ("loss", lambda v: f"loss {v:.4f}{_loss_parts(metrics)}"),
        ("accuracy", lambda v: f"accuracy {v:.0%}"),
        ("batch_v2t_R@1", lambda v: f"R@1 in batch {v:.0%}/{metrics.get('batch_t2v_R@1', v):.0%}"),
        ("lr", lambda v: f"lr {v:.2g}"),
        ("grad_norm", lambda v: f"gradient {v:.3g}"),
    )
    takes = (
        ("samples_per_s", lambda v: f"{_short(v)} samples/s"),
        ("waiting", lambda v: f"waiting {v:.0%}"),
        ("mfu", lambda v: f"MFU {v:.0%}"),
        ("device_hours", lambda v: f"{_short(v)} of {_short(v + metrics.get('device_hours_to_go', 0.0))} device-hours"),
        ("peak_memory_mb", lambda v: f"peak {v / 1000:.1f} GB"),
    )
    return [[say(metrics[name]) for name, say in line if name in metrics] for line in (learns, takes)]


def duration(seconds: float) -> str:
    """``3 d 4 h``, ``2 h 05 min``, ``7 min`` or ``42 s``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def _time_left(metrics: Mapping[str, float]) -> list[str]:
    return [f"{duration(metrics['seconds_to_go'])} left"] if "seconds_to_go" in metrics else []


def _loss_parts(metrics: Mapping[str, float]) -> str:
    if "loss_global" not in metrics or "loss_local" not in metrics:
        return ""
    return f" = {metrics['loss_global']:.3f} global + {metrics['loss_local']:.3f} local"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _folded(parts: list[str], width: int) -> list[str]:
    """The parts on as many lines as a terminal of that width needs, none cut unless it alone is too long."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(_BETWEEN) + len(part) <= width:
            lines[-1] += _BETWEEN + part
        else:
            lines.append(part)
    return lines
