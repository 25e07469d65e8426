"""What a run writes down as it goes: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from data_specs import atomic

METRICS_NAME = "metrics.jsonl"


class Journal:
    """Appends one line a step. Opened at step ``done``, it first drops the lines of later steps, which a run that was
    stopped after its last checkpoint leaves behind and which are about to be made again."""

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / METRICS_NAME
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= done]
            atomic.write_text(self.path, "".join(f"{line}\n" for line in kept))
        self._lines = self.path.open("a", encoding="utf-8", buffering=1)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, metrics: Mapping[str, float]) -> None:
        """One step's values; ``step`` is among them. One that is not finite (fp16 that overflowed) is null."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._lines.write(json.dumps(finite) + "\n")
        for name, value in metrics.items():
            if name not in ("step", "epoch"):
                self._events.add_scalar(name, value, int(metrics["step"]))

    def close(self) -> None:
        """Flushes and closes both."""
        self._lines.close()
        self._events.close()


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line that a kill cut in half
