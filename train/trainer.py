"""The training loop: one function for a process alone, for torchrun's ranks and for Ray Train's workers."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from data_specs.errors import InputError
from train.checkpoint import Best, Position
from train.config import TrainConfig
from train.device import DTYPES, choose_device
from train.distributed import Ranks, joined
from train.history import read_history
from train.keeping.checkpoint_folder import Search, search
from train.keeping.checkpoint_writer import CheckpointWriter, SaveError
from train.keeping.ema import Ema
from train.keeping.run_state import RunState
from train.optimiser import learning_rate, make_optimiser
from train.reading.sources import has_splits
from train.resolution import resolved
from train.run.finiteness import FiniteNumbers
from train.run.interruption import Interruptions
from train.run.journal import VALIDATION, Journal
from train.run.origin import facts_of, learnt_in
from train.run.progress import ProgressReport
from train.run.run_folder import BEST, CHECKPOINTS, MODEL, check_run, open_run, write_model
from train.run.spending import Spending
from train.run.wandb_log import check_package
from train.stream import Batch, RegionStream, ahead
from train.tasks.task import Lesson, task_of


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``model`` is None if it was told to stop before its end, by Ctrl-C if ``interrupted``;
    ``corrupt`` has a line for each unreadable sample."""

    run: Path
    steps: int
    model: Path | None
    corrupt: tuple[str, ...]
    interrupted: bool = False


def train(config: TrainConfig, resume: bool = False) -> Outcome:
    """Trains as ``config`` says and writes the run folder; with ``resume`` goes on from its last checkpoint, exactly.

    Every rank calls it with the same arguments.

    Raises:
        InputError: data, model or run folder do not allow it.
        NonFiniteError: training diverged.
    """
    with Interruptions(config.out) as told, joined(config.device) as ranks, _room(config.out):
        config = ranks.agree(lambda: _checked(config, resume))
        # One rank looks for all: another's disk could show another checkpoint, and they would learn apart.
        standing = ranks.agree(lambda: search(config.out / CHECKPOINTS) if resume and ranks.is_first else Search())
        found = ranks.gather(standing.found.name if standing.found is not None else None)[0]
        trainer = ranks.agree(lambda: Trainer(config, ranks, config.out / CHECKPOINTS / found if found else None))
        lock = ranks.agree(lambda: open_run(config) if ranks.is_first else None)
        with lock or nullcontext():
            outcome = trainer.run(standing, told)
        del trainer  # before its group of ranks ends: freed later, its reducer can wait forever for the group's threads
        return outcome


class Trainer:
    """One rank of a run: model, optimiser, data and where it stands."""

    def __init__(self, config: TrainConfig, ranks: Ranks, checkpoint_folder: Path | None) -> None:
        self.config, self.ranks = config, ranks
        self.device = choose_device(config.device, ranks.local)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        pinned = self.device.type == "cuda"
        self.stream = RegionStream(config.data, config.model.box_dim, ranks.rank, ranks.size, pinned=pinned)
        if self.stream.feature_dim != config.model.feature_dim:
            raise InputError(
                f"the shards' features are {self.stream.feature_dim} wide, model.feature_dim is"
                f" {config.model.feature_dim}; set model.feature_dim={self.stream.feature_dim}"
            )
        self.before = read_history(config.start.model) if config.start is not None else ()
        self.task = task_of(config)
        held = config.validation
        goes_without = held is None or (held.optional and not has_splits(held.shards, held.splits))
        self.validation = None if goes_without else self.task.validation(self.stream.sources[:1])
        self.model = self.task.model.to(self.device)
        steps = config.epochs * self.stream.batches_per_epoch
        self.total_steps = min(steps, config.max_steps or steps)
        self.state = RunState(
            config=config,
            task=self.task,
            stream=self.stream,
            optimiser=make_optimiser(self.model, config.optimiser),
            average=Ema(self.model, config.optimiser.ema_decay) if config.optimiser.ema_decay else None,
            scaler=torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16"),
            spending=Spending(config.precision, self.device, ranks.size, self.total_steps),
        )
        if checkpoint_folder is not None:
            self.state.restore(checkpoint_folder, ranks, self.device)
        elif ranks.rank:
            torch.manual_seed(config.seed + ranks.rank)  # the same weights, and dropout of one's own
        if self.position.step > self.total_steps:
            raise InputError(
                f"{config.out}: the run stands at step {self.position.step}, beyond the {self.total_steps} that epochs"
                " and max_steps allow; raise them, or start a new run with --set out=FOLDER"
            )
        self.learner: nn.Module = self.model
        self.finite = FiniteNumbers(config.out, ranks, self.state.scaler.is_enabled())
        self._saved_at = time.monotonic()

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.state.position

    def run(self, standing: Search, told: Interruptions) -> Outcome:
        """Trains to the end, or to the step in which it is ``told`` to stop; ``standing`` is what it goes on from."""
        config, first = self.config, self.ranks.is_first
        self.learner = self._parallel()
        with ExitStack() as stack:
            report = stack.enter_context(
                ProgressReport(self.total_steps, self.position.step, config.log_every, shown=first)
            )
            journal = stack.enter_context(closing(self._journal())) if first else None
            writer = CheckpointWriter(config.out / CHECKPOINTS, config.keep, standing.broken) if first else None
            stack.enter_context(writer or nullcontext())
            stack.callback(self.stream.close)
            self._introduce(report, standing)
            for batch, lesson, waited_s in self._batches():
                metrics = self._step(batch, lesson, waited_s)
                last = self.position.step == self.total_steps
                if journal is not None:
                    journal.write(metrics)
                report.step(metrics)
                if journal is not None and self._validates(last):
                    found = self._validate()
                    journal.write(found, VALIDATION)
                    report.validation(found)
                stops, saves, interrupted = self._agree(told)
                if saves or stops or last:
                    told.save = False
                    self._save(writer, journal)
                if stops and not last:
                    report.say(f"stopped at step {self.position.step}; go on with the same command and --resume")
                    return self._outcome(None, interrupted)
            return self._outcome(self._finish())

    def _batches(self) -> Iterator[tuple[Batch, Lesson, float]]:
        """Batches from the run's position to its end, made ready, each with the seconds it was waited for."""
        while self.position.step < self.total_steps:
            epoch = self.position.epoch
            batches = ((b, self.task.prepare(b)) for b in self.stream.epoch(epoch, self.position.batch))
            with closing(ahead(batches)) as prepared:
                since = time.perf_counter()
                for batch, lesson in prepared:
                    yield batch, lesson, time.perf_counter() - since
                    if self.position.step == self.total_steps:
                        return
                    since = time.perf_counter()
            self.state.position = Position(self.position.step, epoch + 1, 0)

    def _step(self, batch: Batch, lesson: Lesson, waited_s: float) -> dict[str, float]:
        """Learns from one batch and moves the position; returns what the journal keeps of it."""
        began = time.perf_counter()
        config, state, step = self.config, self.state, self.position.step
        lr = learning_rate(config.optimiser, step, self.stream.batches_per_epoch, self.total_steps)
        for group in state.optimiser.param_groups:
            group["lr"] = lr

        state.optimiser.zero_grad(set_to_none=True)
        outcome = self.task.learn(self.learner, lesson.to(self.device), self._autocast, state.scaler.scale)
        state.scaler.unscale_(state.optimiser)
        norm = clip_grad_norm_(self.model.parameters(), config.optimiser.clip_norm or math.inf)
        self.finite.check(outcome.total, norm, batch, step + 1)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        if state.average is not None:
            state.average.update(self.model)

        state.position = Position(step + 1, self.position.epoch, self.position.batch + 1)
        done = {"step": step + 1, "epoch": self.position.epoch}
        learnt = self.task.describe(outcome) | {"grad_norm": norm.item(), "lr": lr}
        cost, seconds = self.task.cost(lesson, self.ranks.size), waited_s + time.perf_counter() - began
        spent = state.spending.step(cost, len(batch.keys), seconds, waited_s)
        return done | learnt | spent | {"unreadable": len(self.stream.corrupt)}

    def _validates(self, last: bool) -> bool:
        every = self.config.validation.every if self.config.validation is not None else 0
        return self.validation is not None and (last or self.position.step % every == 0)

    def _validate(self) -> dict[str, float]:
        """Measures the model as it would be written now, and writes it if it is the best so far."""
        assert self.validation is not None
        began = time.perf_counter()
        with self._averaged():
            found = self.validation(self.model, self._autocast)
            metric, best = found[self.task.best], self.state.best
            if best is None or metric > best.metric:
                self.state.best = Best(metric, self.position.step)
                self._write(BEST)
        self.state.spending.beside(time.perf_counter() - began)
        return {"step": self.position.step, "epoch": self.position.epoch} | found

    def _agree(self, told: Interruptions) -> tuple[bool, bool, bool]:
        """Whether to stop, to save, and whether it was Ctrl-C: what any rank was told holds for all."""
        if self.ranks.is_first:
            told.look()
        due = self.position.step % self.config.checkpoint_every == 0 or (self.ranks.is_first and self._is_time())
        said = (told.interrupted, told.terminated, told.save or due)
        interrupted, terminated, saves = (any(column) for column in zip(*self.ranks.gather_numbers(said), strict=True))
        return interrupted or terminated, saves, interrupted

    def _is_time(self) -> bool:
        minutes = self.config.checkpoint_minutes
        return minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes

    def _save(self, writer: CheckpointWriter | None, journal: Journal | None) -> None:
        began = time.perf_counter()
        random = self.state.exchange(self.ranks, self.device)
        self._saved_at = time.monotonic()
        if writer is None or journal is None:
            return
        journal.sync()  # none of the checkpoint's steps may be missing
        writer.save(self.state.checkpoint(random))
        self.state.spending.beside(time.perf_counter() - began)

    def _parallel(self) -> nn.Module:
        """The model as every rank calls it: gradients are averaged over the ranks."""
        if self.ranks.size == 1:
            return self.model
        devices = [self.device] if self.device.type == "cuda" else None
        # Looking for unused parameters keeps the buckets as they are made first, so a resumed run sums as before.
        return DistributedDataParallel(self.model, device_ids=devices, find_unused_parameters=True)

    def _autocast(self) -> AbstractContextManager[None]:
        dtype = DTYPES.get(self.config.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _averaged(self) -> AbstractContextManager[None]:
        average = self.state.average
        return average.swapped(self.model) if average is not None else nullcontext()

    def _introduce(self, report: ProgressReport, standing: Search) -> None:
        stream, count = self.stream, sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        ranks = f" with {self.ranks.size} ranks" if self.ranks.size > 1 else ""
        report.say(
            f"{stream.num_samples} samples in {len(stream.shards)} shards, {stream.batches_per_epoch} batches of"
            f" {stream.batch_size} an epoch, {self.total_steps} steps; {count / 1e6:.1f} M parameters learn in"
            f" {self.config.precision} on {self.device}{ranks}"
        )
        if stream.batch_size < self.config.data.batch_size:
            report.say(f"data.batch_size {self.config.data.batch_size} is lowered to the data set's size")
        if self.config.validation is not None and self.validation is None:
            report.say(f"no shard of split {' and '.join(self.config.validation.splits)}: nothing is validated")
        for line in standing.passed_over:
            report.say(line)
        if standing.found is not None:
            report.say(f"going on from {standing.found}")

    def _finish(self) -> Path:
        """Writes the finished model on the first rank; the others wait for it."""
        with self._averaged():
            self.ranks.agree(lambda: self.ranks.is_first and self._write(MODEL))
        return self.config.out / MODEL

    def _write(self, name: str) -> Path:
        config, steps = self.config, self.position.step
        history = (*self.before, learnt_in(config, self.task, self.stream, steps))
        return write_model(self.model, config.out, name, facts_of(config, self.stream, steps), history)

    def _journal(self) -> Journal:
        config = self.config
        return Journal(config.out, self.position.step, config.wandb, config.model_dump(mode="json"))

    def _outcome(self, model: Path | None, interrupted: bool = False) -> Outcome:
        corrupt = {problem for found in self.ranks.gather(list(self.stream.corrupt)) for problem in found}
        return Outcome(self.config.out, self.position.step, model, tuple(sorted(corrupt)), interrupted)


def _checked(config: TrainConfig, resume: bool) -> TrainConfig:
    config = resolved(config)
    check_run(config, resume)
    check_package(config.wandb)
    return config


@contextmanager
def _room(run: Path) -> Iterator[None]:
    """Says in one line that a disk is full, whatever was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SaveError(
            f"{run}: {error.strerror}; the checkpoints there are whole. Make room, then go on with the same command"
            " and --resume"
        ) from error
