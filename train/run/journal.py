"""What a run writes down as it goes: ``metrics.jsonl``, TensorBoard events and, where asked for, Weights & Biases."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from data_specs import atomic
from train.run.wandb_log import WandbLog

METRICS_NAME = "metrics.jsonl"
TRAIN, VALIDATION = "train", "validation"


class Journal:
    """Appends one line a step or validation. Opened at step ``done``, it first drops the lines of later steps, which a
    run that was stopped after its last checkpoint leaves behind and which are about to be made again.

    wandb: the project to log to as well, with the run's ``config``. Raises InputError: it cannot be logged to.
    """

    def __init__(
        self, folder: Path, done: int, wandb: str | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        self.path = folder / METRICS_NAME
        self._wandb = WandbLog(wandb, folder, config or {}) if wandb is not None else None
        if self.path.exists():
            _drop_later(self.path, done)
        self._lines = self.path.open("a", encoding="utf-8", buffering=1)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, metrics: Mapping[str, float], kind: str = TRAIN) -> None:
        """One step's or validation's values; ``step`` is among them. One that is not finite (fp16 that overflowed) is
        null. In TensorBoard those of a validation stand under ``validation/``."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._lines.write(json.dumps({"step": metrics["step"], "kind": kind} | finite) + "\n")
        for name, value in metrics.items():
            if name not in ("step", "epoch"):
                tag = name if kind == TRAIN else f"{kind}/{name}"
                self._events.add_scalar(tag, value, int(metrics["step"]))
        if self._wandb is not None:
            self._wandb.write(metrics, kind)

    def sync(self) -> None:
        """Until all lines are on disk: before a checkpoint is, so that none of its steps can be missing."""
        os.fsync(self._lines.fileno())
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes all."""
        self._lines.close()
        self._events.close()
        if self._wandb is not None:
            self._wandb.close()


def _drop_later(path: Path, done: int) -> None:
    with path.open("rb") as lines, atomic.replacing(path) as temporary, temporary.open("wb") as kept:
        for line in lines:
            if _step(line) <= done:
                kept.write(line)


def _step(line: bytes) -> float:
    """The step of a line; infinity for what is none, such as one that a kill cut in half."""
    try:
        tree = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return math.inf
    step = tree.get("step") if isinstance(tree, dict) else None
    return step if isinstance(step, int | float) else math.inf
