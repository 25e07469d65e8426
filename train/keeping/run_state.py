"""What the steps of a run change on a rank, as a checkpoint holds it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.optim import AdamW

from data_specs.errors import InputError
from train import checkpoint
from train.checkpoint import Best, Checkpoint, Position, Standing
from train.config import TrainConfig
from train.distributed import Ranks
from train.keeping.ema import Ema
from train.keeping.random_states import RandomStates, of_rank
from train.optimiser import load_by_name, state_by_name
from train.run.spending import Spending
from train.stream import RegionStream
from train.tasks.task import Task

_AND = "+"  # between the fingerprints of the shards and of what else a task depends on


@dataclass(eq=False)
class RunState:
    """One rank's: its model (the task's) and what learns it, the data, and where the run stands in it.

    average: None where none is kept. best: None before the first validation.
    """

    config: TrainConfig
    task: Task
    stream: RegionStream
    optimiser: AdamW
    average: Ema | None
    scaler: torch.amp.GradScaler
    spending: Spending
    position: Position = field(default_factory=Position)
    best: Best | None = None

    def exchange(self, ranks: Ranks, device: torch.device) -> tuple[RandomStates, ...]:
        """The random states of all ranks; on each, what any of them could not read is known afterwards.

        Raises:
            InputError: too much of it.
        """
        states = ranks.gather(RandomStates.capture(device).to_json())
        for found in ranks.gather(dict(self.stream.corrupt)):
            self.stream.corrupt |= Counter(found)  # each at its most: what one has met counts for all
        self.stream.check_corrupt()
        return tuple(map(RandomStates.from_json, states))

    def checkpoint(self, random: tuple[RandomStates, ...]) -> Checkpoint:
        """All that the run continues from; its tensors are those that learn, no copies."""
        standing = Standing(
            position=self.position,
            data=self._fingerprint,
            scaler=self.scaler.state_dict(),
            best=self.best,
            spent=self.spending.spent,
            corrupt=dict(self.stream.corrupt),
        )
        return Checkpoint(
            standing=standing,
            model=self.task.model.state_dict(),
            optimiser=state_by_name(self.optimiser, self.task.model),
            random=random,
            ema=self.average.state if self.average is not None else {},
        )

    def restore(self, folder: Path, ranks: Ranks, device: torch.device) -> None:
        """Goes on from the checkpoint in ``folder``.

        Raises:
            InputError: this rank does not see it, or it is that of a run on other data, answers or settings.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: only the first rank has it; is this folder on a disk that all ranks share?")
        state = checkpoint.read(folder)
        self._check_data(state.standing.data)
        checkpoint.load_weights(self.task.model.state_dict(), state.model, folder)
        load_by_name(self.optimiser, self.task.model, state.optimiser, folder)
        if self.average is not None:
            self.average.load(state.ema, folder)
        self.scaler.load_state_dict(state.standing.scaler)
        self.position, self.best = state.standing.position, state.standing.best
        self.spending.go_on(self.position.step, state.standing.spent)
        self.stream.corrupt.update(state.standing.corrupt)
        of_rank(state.random, ranks.rank, self.config.seed, self.position.step).restore(device)

    @property
    def _fingerprint(self) -> str:
        return _AND.join(filter(None, [self.stream.fingerprint, self.task.fingerprint]))

    def _check_data(self, found: str) -> None:
        shards, _, rest = found.partition(_AND)
        if shards != self.stream.fingerprint:
            raise InputError(
                f"{self.config.out}: the shards are not those that this run was started on (or an older version of this"
                " program drew from them in another way), so its place in them is lost; give the old ones with --set"
                " data.shards=[FOLDER], or start a new run with --set out=FOLDER"
            )
        if rest != self.task.fingerprint:
            raise InputError(
                f"{self.config.out}: the answers are not those that this run was started on, so it cannot go on; give"
                " the old ones with --set answering.answers=FILE, or start a new run with --set out=FOLDER"
            )
