"""Loss and gradients that are not finite numbers: seen before the weights are touched, on all ranks if on one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from torch import Tensor

from data_specs import atomic
from train.distributed import Ranks
from train.stream import Batch

BAD_BATCH = "bad-batch.json"
_MOST_OVERFLOWS = 50  # steps in a row that an fp16 scaler skipped; halving its scale that often helps no model
_SHOWN = 8


class NonFiniteError(click.ClickException):
    """Loss or gradient is not a finite number. The message names the step and the batch's keys. Exit code 1."""

    def __init__(self, what: str, step: int, keys: Sequence[str], saved: Path) -> None:
        super().__init__(
            f"step {step}: the {what} is not finite; nothing was learnt from this batch and the run stops."
            f" Lower optimiser.lr or set precision=fp32, or look at the samples of the batch, which {saved} lists:"
            f" {', '.join(keys[:_SHOWN])}{' and others' if len(keys) > _SHOWN else ''}"
        )


class FiniteNumbers:
    """Looks at every step of a run in the folder ``run``. A gradient scaler skips steps whose gradients overflow; with
    one (``scaled``) only many of these in a row are too much."""

    def __init__(self, run: Path, ranks: Ranks, scaled: bool) -> None:
        self._path, self._ranks, self._scaled = run / BAD_BATCH, ranks, scaled
        self._overflows = 0

    def check(self, loss: Tensor, norm: Tensor, batch: Batch, step: int) -> None:
        """``loss``: this rank's; ``norm``: of the gradient over all ranks, which is the same on each.

        Raises:
            NonFiniteError: the keys of the batch, of all ranks, are in ``bad-batch.json``.
        """
        loss_, norm_ = torch.stack([loss.detach().float(), norm.float()]).tolist()
        bad_loss = self._ranks.any(not math.isfinite(loss_))
        overflow = not math.isfinite(norm_)
        self._overflows = self._overflows + 1 if overflow else 0
        if not bad_loss and (not overflow or (self._scaled and self._overflows < _MOST_OVERFLOWS)):
            return
        what = "loss" if bad_loss else "gradient"
        keys = [key for found in self._ranks.gather(list(batch.keys)) for key in found]
        if self._ranks.is_first:
            described = {"step": step, "what": what, "source": batch.source, "keys": keys}
            atomic.write_text(self._path, json.dumps(described, indent=1) + "\n")
        raise NonFiniteError(what, step, keys, self._path)
