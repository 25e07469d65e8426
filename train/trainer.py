"""The training loop: one function for a process alone, for torchrun's ranks and for Ray Train's workers."""

from __future__ import annotations

import errno
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from data_specs.errors import InputError
from train import checkpoint
from train.batch import TextBatch
from train.checkpoint import Best, Checkpoint, Position, Standing
from train.config import TrainConfig
from train.device import DTYPES, choose_device
from train.distributed import Ranks, joined
from train.keeping.checkpoint_folder import Search, search
from train.keeping.checkpoint_writer import CheckpointWriter, SaveError
from train.keeping.ema import Ema
from train.keeping.random_states import RandomStates, of_rank
from train.losses import ContrastiveLoss, LossParts
from train.objective.cached_gradients import learn
from train.optimiser import learning_rate, load_by_name, make_optimiser, state_by_name
from train.resolution import resolved
from train.run.finiteness import FiniteNumbers
from train.run.interruption import Interruptions
from train.run.journal import VALIDATION, Journal
from train.run.progress import ProgressReport
from train.run.run_folder import BEST, CHECKPOINTS, MODEL, check_run, open_run, write_model
from train.run.spending import Spending
from train.run.wandb_log import check_package
from train.start import make_model
from train.stream import Batch, RegionStream, ahead
from train.validation import BEST as BEST_METRIC
from train.validation import Validation, recall_in_batch


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
        self.validation = Validation(config, self.stream.sources[:1]) if config.validation is not None else None
        self.model = make_model(config).to(self.device)
        self.loss = ContrastiveLoss(self.model.loss)
        self.optimiser = make_optimiser(self.model, config.optimiser)
        self.average = Ema(self.model, config.optimiser.ema_decay) if config.optimiser.ema_decay else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        steps = config.epochs * self.stream.batches_per_epoch
        self.total_steps = min(steps, config.max_steps or steps)
        self.position: Position = Position()
        self.best: Best | None = None
        self.spending = Spending(config, self.model, self.device, ranks.size, self.total_steps)
        if checkpoint_folder is not None:
            self._restore(checkpoint_folder)
        elif ranks.rank:
            torch.manual_seed(config.seed + ranks.rank)  # the same weights, and dropout of one's own
        if self.position.step > self.total_steps:
            raise InputError(
                f"{config.out}: the run stands at step {self.position.step}, beyond the {self.total_steps} that epochs"
                " and max_steps allow; raise them, or start a new run with --set out=FOLDER"
            )
        self.learner: nn.Module = self.model
        self.finite = FiniteNumbers(config.out, ranks, self.scaler.is_enabled())
        self._saved_at = time.monotonic()

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
            for batch, text, waited_s in self._batches():
                metrics = self._step(batch, text, waited_s)
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

    def _batches(self) -> Iterator[tuple[Batch, TextBatch, float]]:
        """Batches from the run's position to its end, tokenized, each with the seconds it was waited for."""
        while self.position.step < self.total_steps:
            epoch = self.position.epoch
            batches = ((b, self.model.tokenizer(b.captions)) for b in self.stream.epoch(epoch, self.position.batch))
            with closing(ahead(batches)) as prepared:
                since = time.perf_counter()
                for batch, text in prepared:
                    yield batch, text, time.perf_counter() - since
                    if self.position.step == self.total_steps:
                        return
                    since = time.perf_counter()
            self.position = Position(self.position.step, epoch + 1, 0)

    def _step(self, batch: Batch, text: TextBatch, waited_s: float) -> dict[str, float]:
        """Learns from one batch and moves the position; returns what the journal keeps of it."""
        began = time.perf_counter()
        config, step = self.config, self.position.step
        lr = learning_rate(config.optimiser, step, self.stream.batches_per_epoch, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = lr

        self.optimiser.zero_grad(set_to_none=True)
        parts = learn(
            self.learner, self.loss, batch.video.to(self.device), text.to(self.device),
            chunk_size=config.chunk_size, autocast=self._autocast, scale=self.scaler.scale,
        )  # fmt: skip
        self.scaler.unscale_(self.optimiser)
        norm = clip_grad_norm_(self.model.parameters(), config.optimiser.clip_norm or math.inf)
        self.finite.check(parts.total, norm, batch, step + 1)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)

        self.position = Position(step + 1, self.position.epoch, self.position.batch + 1)
        done = {"step": step + 1, "epoch": self.position.epoch}
        learnt = {**_described(parts), "grad_norm": norm.item(), "lr": lr, "temperature": self.model.temperature.item()}
        spent = self.spending.step(text, waited_s + time.perf_counter() - began, waited_s)
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
            if self.best is None or found[BEST_METRIC] > self.best.metric:
                self.best = Best(found[BEST_METRIC], self.position.step)
                self._write(BEST)
        self.spending.beside(time.perf_counter() - began)
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
        states = self.ranks.gather(RandomStates.capture(self.device).to_json())
        for found in self.ranks.gather(dict(self.stream.corrupt)):
            self.stream.corrupt |= Counter(found)  # each at its most: what one has met counts for all
        self.stream.check_corrupt()
        self._saved_at = time.monotonic()
        if writer is None or journal is None:
            return
        journal.sync()  # none of the checkpoint's steps may be missing
        standing = Standing(
            position=self.position,
            data=self.stream.fingerprint,
            scaler=self.scaler.state_dict(),
            best=self.best,
            spent=self.spending.spent,
            corrupt=dict(self.stream.corrupt),
        )
        writer.save(
            Checkpoint(
                standing=standing,
                model=self.model.state_dict(),
                optimiser=state_by_name(self.optimiser, self.model),
                random=tuple(map(RandomStates.from_json, states)),
                ema=self.average.state if self.average is not None else {},
            )
        )
        self.spending.beside(time.perf_counter() - began)

    def _restore(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: only the first rank has it; is this folder on a disk that all ranks share?")
        state = checkpoint.read(folder)
        if state.standing.data != self.stream.fingerprint:
            raise InputError(
                f"{self.config.out}: the shards are not those that this run was started on, so its place in them is"
                " lost; give the old ones with --set data.shards=[FOLDER], or start a new run with --set out=FOLDER"
            )
        checkpoint.load_weights(self.model.state_dict(), state.model, folder)
        load_by_name(self.optimiser, self.model, state.optimiser, folder)
        if self.average is not None:
            self.average.load(state.ema, folder)
        self.scaler.load_state_dict(state.standing.scaler)
        self.position, self.best = state.standing.position, state.standing.best
        self.spending.go_on(self.position.step, state.standing.spent)
        self.stream.corrupt.update(state.standing.corrupt)
        of_rank(state.random, self.ranks.rank, self.config.seed, self.position.step).restore(self.device)

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
        return self.average.swapped(self.model) if self.average is not None else nullcontext()

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
        return write_model(self.model, self.config.out, name, self._facts())

    def _facts(self) -> dict[str, object]:
        """What the model card tells."""
        config = self.config
        return {
            "data": ", ".join(str(folder) for folder in config.data.shards),
            "frames and regions drawn": f"{config.data.frames} x {config.data.regions}",
            "steps": f"{self.position.step} of {self.stream.batch_size} clips",
            "optimiser": f"AdamW, learning rate {config.optimiser.lr:g}, {config.optimiser.schedule}",
            "precision": config.precision,
            "started from": config.start.model
            if config.start is not None
            else f"text encoder {config.model.text_encoder}, ViT {config.model.vit_weights or 'of random weights'}",
        }

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


def _described(parts: LossParts) -> dict[str, float]:
    v2t, t2v = recall_in_batch(parts.similarity_BB)
    loss, global_, local = torch.stack([parts.total, parts.global_, parts.local]).detach().tolist()
    return {"loss": loss, "loss_global": global_, "loss_local": local, "batch_v2t_R@1": v2t, "batch_t2v_R@1": t2v}
