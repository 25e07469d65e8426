"""The training loop, on one device."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from data_specs.errors import InputError
from train import checkpoint
from train.checkpoint import Checkpoint, Position, Standing
from train.checkpoint_folder import latest
from train.config import TrainConfig
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.optimiser import learning_rate, load_by_name, make_optimiser, state_by_name
from train.random_states import RandomStates, of_rank
from train.run.journal import Journal
from train.run.progress import ProgressReport
from train.run.run_folder import CHECKPOINTS, check_run, open_run, write_model
from train.stream import Batch, RegionStream, ahead

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteError(click.ClickException):
    """Loss or gradient is not a finite number. The message names the step and the batch's keys. Exit code 1."""

    def __init__(self, what: str, step: int, keys: Sequence[str]) -> None:
        super().__init__(
            f"step {step}: the {what} is not finite; nothing was learnt from this batch and the run stops."
            f" Lower optimiser.lr or set precision=fp32, or look at the samples of the batch: {', '.join(keys)}"
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``model`` is None if it was interrupted; ``corrupt`` has a line for each unreadable sample."""

    run: Path
    steps: int
    model: Path | None
    corrupt: tuple[str, ...]


def train(config: TrainConfig, resume: bool = False) -> Outcome:
    """Trains as ``config`` says and writes the run folder; with ``resume`` goes on from its last checkpoint, exactly.

    Raises:
        InputError: data, model or run folder do not allow it.
        NonFiniteError: training diverged.
    """
    config = resolved(config)
    check_run(config, resume)
    trainer = Trainer(config, choose_device(config.device), resume)
    open_run(config)
    return trainer.run()


class Trainer:
    """One run: model, optimiser, data and where it stands."""

    def __init__(self, config: TrainConfig, device: torch.device, resume: bool) -> None:
        self.config = config
        self.device, self.precision = device, config.precision
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.stream = RegionStream(config.data, config.model.box_dim)
        if self.stream.feature_dim != config.model.feature_dim:
            raise InputError(
                f"the shards' features are {self.stream.feature_dim} wide, model.feature_dim is"
                f" {config.model.feature_dim}; set model.feature_dim={self.stream.feature_dim}"
            )
        self.model = RegionTextModel.create(config.model, config.loss).to(self.device).train()
        if config.optimiser.freeze_text:
            self.model.text_encoder.freeze()
        self.loss = ContrastiveLoss(config.loss)
        self.optimiser = make_optimiser(self.model, config.optimiser)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        steps = config.epochs * self.stream.batches_per_epoch
        self.total_steps = min(steps, config.max_steps or steps)
        self.position = Position()
        self.resumed_from = latest(config.out / CHECKPOINTS) if resume else None
        if self.resumed_from is not None:
            self._restore(checkpoint.read(self.resumed_from))

    def run(self) -> Outcome:
        """Trains to the end, or to the step in which Ctrl-C was pressed."""
        config = self.config
        report = ProgressReport(self.total_steps, self.position.step, config.log_every)
        with report, closing(Journal(config.out, self.position.step)) as journal, _interrupts() as interrupted:
            self._introduce(report)
            for batch, waited_s in self._batches():
                metrics = self._step(batch, waited_s)
                journal.write(metrics)
                report.step(metrics)
                last = self.position.step == self.total_steps
                if last or interrupted.is_set() or self.position.step % config.checkpoint_every == 0:
                    self._save()
                if interrupted.is_set() and not last:
                    report.say(f"stopped at step {self.position.step}; go on with the same command and --resume")
                    return self._outcome(None)
        return self._outcome(write_model(self.model, config.out))

    def _batches(self) -> Iterator[tuple[Batch, float]]:
        """Batches from the run's position to its end, each with the seconds it was waited for."""
        while self.position.step < self.total_steps:
            epoch = self.position.epoch
            with closing(ahead(self.stream.epoch(epoch, self.position.batch))) as batches:
                since = time.perf_counter()
                for batch in batches:
                    yield batch, time.perf_counter() - since
                    if self.position.step == self.total_steps:
                        return
                    since = time.perf_counter()
            self.position = Position(self.position.step, epoch + 1, 0)

    def _step(self, batch: Batch, waited_s: float) -> dict[str, float]:
        """Learns from one batch and moves the position; returns what the journal keeps of it."""
        began = time.perf_counter()
        step, config = self.position.step, self.config.optimiser
        lr = learning_rate(config, step, self.stream.batches_per_epoch, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = lr

        video, text = batch.video.to(self.device), self.model.tokenizer(batch.captions).to(self.device)
        with torch.autocast(self.device.type, _DTYPES.get(self.precision), enabled=self.precision in _DTYPES):
            pairs = self.model(video, text)
        parts = self.loss(pairs)
        if not torch.isfinite(parts.total):
            raise NonFiniteError("loss", step + 1, batch.keys)

        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(parts.total).backward()
        self.scaler.unscale_(self.optimiser)
        norm = clip_grad_norm_(self.model.parameters(), config.clip_norm or math.inf)
        if not self.scaler.is_enabled() and not torch.isfinite(norm):  # an enabled scaler skips such a step itself
            raise NonFiniteError("gradient", step + 1, batch.keys)
        self.scaler.step(self.optimiser)
        self.scaler.update()

        self.position = Position(step + 1, self.position.epoch, self.position.batch + 1)
        recall_v2t, recall_t2v = recall_in_batch(parts.similarity_BB)
        values = {"loss": parts.total, "loss_global": parts.global_, "loss_local": parts.local, "grad_norm": norm}
        took_s = waited_s + time.perf_counter() - began
        return {
            "step": step + 1,
            "epoch": self.position.epoch,
            **{name: value.item() for name, value in values.items()},
            "recall_v2t": recall_v2t,
            "recall_t2v": recall_t2v,
            "lr": lr,
            "samples_per_s": len(batch.keys) / took_s,
            "waiting": waited_s / took_s,
        }

    def _save(self) -> None:
        state = Checkpoint(
            standing=Standing(position=self.position, data=self.stream.fingerprint, scaler=self.scaler.state_dict()),
            model=self.model.state_dict(),
            optimiser=state_by_name(self.optimiser, self.model),
            random=(RandomStates.capture(self.device),),
        )
        checkpoint.write(self.config.out / CHECKPOINTS, state, self.config.keep)

    def _restore(self, state: Checkpoint) -> None:
        if state.standing.data != self.stream.fingerprint:
            raise InputError(
                f"{self.config.out}: the shards are not those that this run was started on, so its place in them is"
                " lost; give the old ones with --set data.shards=[FOLDER], or start a new run with --set out=FOLDER"
            )
        checkpoint.load_weights(self.model.state_dict(), state.model, self.resumed_from)
        load_by_name(self.optimiser, self.model, state.optimiser, self.resumed_from)
        self.scaler.load_state_dict(state.standing.scaler)
        self.position = state.standing.position
        of_rank(state.random, 0, self.config.seed, self.position.step).restore(self.device)

    def _introduce(self, report: ProgressReport) -> None:
        stream, count = self.stream, sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        report.say(
            f"{stream.num_samples} samples in {len(stream.shards)} shards, {stream.batches_per_epoch} batches of"
            f" {stream.batch_size} an epoch, {self.total_steps} steps; {count / 1e6:.1f} M parameters learn in"
            f" {self.precision} on {self.device}"
        )
        if stream.batch_size < self.config.data.batch_size:
            report.say(f"data.batch_size {self.config.data.batch_size} is lowered to the data set's size")
        if self.resumed_from is not None:
            report.say(f"going on from {self.resumed_from}")

    def _outcome(self, model: Path | None) -> Outcome:
        return Outcome(self.config.out, self.position.step, model, tuple(self.stream.corrupt))


def resolved(config: TrainConfig) -> TrainConfig:
    """The configuration with the precision that ``auto`` means on this machine: a run goes on in the one it began in.

    Raises:
        InputError: its device is not on this machine.
    """
    precision = choose_precision(config.precision, choose_device(config.device))
    return config.model_copy(update={"precision": precision})


def choose_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device, else the CPU.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: {name!r} is none; write auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: {name!r} is not on this machine, it has {torch.cuda.device_count()} CUDA devices")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where a CUDA device computes in it, fp16 on older ones, fp32 on a CPU."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


def recall_in_batch(similarity_BB: Tensor) -> tuple[float, float]:
    """Share of videos whose own sentence scores above every other of the batch, and the same for sentences.

    A tie with another is a miss.
    """
    own = similarity_BB.diagonal()
    others = similarity_BB.masked_fill(torch.eye(len(own), dtype=torch.bool, device=own.device), -math.inf)
    return (own > others.amax(1)).float().mean().item(), (own > others.amax(0)).float().mean().item()


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that the step in hand is finished; pressed again, it stops at once."""
    pressed = threading.Event()

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():
        yield pressed  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
