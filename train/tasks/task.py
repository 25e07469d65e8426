"""What the trainer and an estimate want of that which is learnt, and the one that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from train.batch import RegionBatch, TextBatch
from train.config import TrainConfig
from train.forecast.cost import StepCost
from train.history import Learnt
from train.model import RegionTextModel
from train.reading.sources import Source
from train.stream import Batch
from train.tasks.answering import Answering
from train.tasks.matching import Matching
from train.validation import Autocast

Scale = Callable[[Tensor], Tensor]


class Lesson(Protocol):
    """A batch made ready to learn from."""

    video: RegionBatch
    text: TextBatch

    def to(self, device: torch.device | str) -> Any:
        """The same on another device."""


class Outcome(Protocol):
    """What a step came to: its loss, and whatever ``Task.describe`` reads."""

    total: Tensor


class LearningModel(Protocol):
    """A module that can be written as a model folder."""

    def save_pretrained(self, folder: Path, facts: Mapping[str, object] | None, history: Sequence[Learnt]) -> None:
        """Writes the folder; see ``RegionTextModel.save_pretrained``."""


class Task(Protocol):
    """One thing to learn, with the model that learns it.

    objective: its name in a model's history. best: the validation's value by which the best model is kept, more being
    better. fingerprint: of what the order of the data does not tell and a resumed run must share; empty where there is
    nothing. model: what learns, on whatever device it was put. base: the encoders in it.
    """

    objective: Literal["contrastive", "answering"]
    best: str
    fingerprint: str
    model: Any
    base: RegionTextModel

    def prepare(self, batch: Batch) -> Lesson:
        """Makes a batch ready, on the CPU; called beside the step before."""

    def learn(self, learner: nn.Module, lesson: Any, autocast: Autocast, scale: Scale) -> Outcome:
        """Adds the gradients of the lesson's loss to the parameters; ``learner`` is the model as the ranks share it."""

    def describe(self, outcome: Any) -> dict[str, float]:
        """What the journal keeps of a step, ``loss`` first; called on every rank."""

    def cost(self, lesson: Any, ranks: int) -> StepCost:
        """Operations of a step on the whole batch, of which this is the share of one of its ``ranks``."""

    def validation(self, learnt_from: Sequence[Source]) -> Callable[[Any, Autocast], dict[str, float]]:
        """What measures the model on the clips that ``config.validation`` names."""


def task_of(config: TrainConfig) -> Task:
    """What ``config`` has learnt, its model made as the run begins.

    Raises:
        InputError: what it starts from, or the answers, cannot be had or do not fit.
    """
    return Matching(config) if config.answering is None else Answering(config, config.answering)
