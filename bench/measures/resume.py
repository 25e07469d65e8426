"""What keeping a run safe costs: steps with and without a checkpoint beside them, and a resume against a step.

The ``small`` preset on made-up shards: saving every few steps is far more often than anyone does, so that it shows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from bench.measures.made_shards import make_sample, write_shards
from train import checkpoint
from train.checkpoint import Checkpoint, Position, Standing, load_weights
from train.config import DataConfig, ModelConfig, OptimiserConfig
from train.keeping.checkpoint_folder import search
from train.keeping.checkpoint_writer import CheckpointWriter
from train.keeping.random_states import RandomStates
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.optimiser import load_by_name, make_optimiser, state_by_name
from train.stream import Batch, RegionStream

_SHARDS, _A_SHARD = 8, 64
_BATCH, _EVERY = 16, 10


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """Medians over ``rounds``, by turns: steps with a save every ten over steps without; and of a resume, in steps."""
    config = ModelConfig.model_validate({"preset": "small"})
    samples = [make_sample(number, 1, config.feature_dim) for number in range(_SHARDS * _A_SHARD)]
    shards = write_shards(scratch / "shards", samples, _A_SHARD)
    stream = RegionStream(DataConfig(shards=(shards,), batch_size=_BATCH), config.box_dim)
    run = _Run(config, stream, scratch / "checkpoints")
    run.steps(2, save=True)  # the first are slow
    bare, saving = [], []
    for _ in range(rounds):
        bare.append(_timed(lambda: run.steps(_EVERY, save=False)))
        saving.append(_timed(lambda: run.steps(_EVERY, save=True)))
    step = statistics.median(bare) / _EVERY
    reads = [_timed(lambda: _Run(config, stream, scratch / "checkpoints", run).resume()) for _ in range(rounds)]
    middle = 3 * stream.batches_per_epoch // 4
    starts, skips = [], []
    for epoch in range(rounds):
        for place, times in ((0, starts), (middle, skips)):
            times.append(_timed(partial(_first_batch, stream, epoch, place)))
    found = search(scratch / "checkpoints").found
    size = sum(path.stat().st_size for path in found.iterdir()) if found is not None else 0
    resume = statistics.median(reads) + statistics.median(skips)
    return {
        "preset": "small",
        "batch_size": _BATCH,
        "checkpoint_mb": round(size / 1e6),
        "step_seconds": round(step, 3),
        f"step_saving_every_{_EVERY}_over_step": _ratio(saving, bare),
        "save_over_step": round(statistics.median(s - b for s, b in zip(saving, bare, strict=True)) / step, 2),
        "read_over_step": round(statistics.median(reads) / step, 2),
        "first_batch_within_epoch_over_at_its_start": _ratio(skips, starts),
        "resume_over_step": round(resume / step, 2),
        "resume_over_epoch_of_10000_steps": round(resume / step / 10_000, 6),
    }


class _Run:
    """Model, optimiser and data as the trainer has them; ``like`` shares another's model, to read into."""

    def __init__(self, config: ModelConfig, stream: RegionStream, folder: Path, like: _Run | None = None) -> None:
        torch.manual_seed(0)
        self.model = like.model if like is not None else RegionTextModel.create(config).train()
        self.optimiser = make_optimiser(self.model, OptimiserConfig())
        self.loss = ContrastiveLoss(self.model.loss)
        self.stream, self.folder = stream, folder
        self.writer = CheckpointWriter(folder, keep=1)
        self.done = 0
        self._batches: Iterator[Batch] = chain.from_iterable(stream.epoch(epoch) for epoch in count())

    def steps(self, number: int, save: bool) -> None:
        """So many steps; with ``save`` a checkpoint is on disk at their end."""
        if save:
            self.writer.save(self._state())
        for _ in range(number):
            batch = next(self._batches)
            self.optimiser.zero_grad(set_to_none=True)
            self.loss(self.model(batch.video, self.model.tokenizer(batch.captions))).total.backward()
            self.optimiser.step()
            self.done += 1
        self.writer.wait()

    def resume(self) -> None:
        """What stands between a start and the first batch, beside making the model."""
        found = search(self.folder).found
        assert found is not None
        state = checkpoint.read(found)
        load_weights(self.model.state_dict(), state.model, found)
        load_by_name(self.optimiser, self.model, state.optimiser, found)

    def _state(self) -> Checkpoint:
        standing = Standing(position=Position(self.done), data=self.stream.fingerprint)
        optimiser = state_by_name(self.optimiser, self.model)
        return Checkpoint(standing, self.model.state_dict(), optimiser, (RandomStates.capture(),))


def _first_batch(stream: RegionStream, epoch: int, place: int) -> Batch:
    with closing(stream.epoch(epoch, place)) as batches:
        return next(batches)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratio(over: list[float], under: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 3)
