"""How large a proof is: clips, model and steps. ``full`` is the proof itself, ``small`` shows that all of it runs."""

from __future__ import annotations

from typing import Literal

from data_specs.configuration import Settings
from pipelines.proof.experiments import SEEN


class Training(Settings):
    """Clips a step, steps, and the learning rate at its highest; the schedule is a cosine."""

    batch: int
    steps: int
    lr: float


class Scale(Settings):
    """Clips of each split, frames and regions kept of each clip, sizes of the model, and its three trainings.

    seen: regions a frame that the journey's model reads, the most confident ones. seeds: of the model and of what it is
    shown; the clips are the same. temperature, temporal_std, box_std: of loss and model. The temperature is lower than
    the published 0.05, as a clip is mostly like its kin, and so they count more: what moves where is learnt sooner.
    answer_questions: of each clip a step. curves: whether the runs beside the main journey are made. judged: the split
    of retrieval; with train it is seen whether the clips were learnt by heart.
    """

    name: str
    train: int
    val: int
    test: int
    frames: int = 8
    regions: int = 30
    seen: int = SEEN
    seeds: tuple[int, ...]
    width: int
    depth: int
    heads: int
    joint_dim: int
    text_width: int
    text_layers: int
    weight_decay: float
    temperature: float
    temporal_std: float
    box_std: float
    pretrain: Training
    tune: Training
    answer: Training
    answer_questions: int
    curves: bool
    judged: Literal["train", "test"] = "test"

    @property
    def candidates(self) -> int:
        """Clips that retrieval is among."""
        return self.train if self.judged == "train" else self.test

    def with_seeds_from(self, first: int) -> Scale:
        """The same with as many seeds, ``first`` and those that follow it."""
        return self.model_copy(update={"seeds": tuple(range(first, first + len(self.seeds)))})


FULL = Scale(
    name="full", train=4000, val=500, test=1000, seeds=(0, 1, 2),
    width=128, depth=2, heads=4, joint_dim=128, text_width=128, text_layers=2, weight_decay=0.1, temperature=0.02,
    temporal_std=3.0, box_std=6.0,
    pretrain=Training(batch=64, steps=900, lr=1e-3),
    tune=Training(batch=64, steps=1200, lr=1e-3),
    answer=Training(batch=64, steps=400, lr=1e-3),
    answer_questions=4, curves=True,
)  # fmt: skip
SMALL = FULL.model_copy(
    update={
        "name": "small", "train": 40, "val": 4, "test": 8, "frames": 4, "seeds": (0,), "curves": False,
        "width": 64, "joint_dim": 64, "text_width": 64, "judged": "train",
        "pretrain": Training(batch=40, steps=100, lr=2e-3),
        "tune": Training(batch=40, steps=300, lr=2e-3),
        "answer": Training(batch=40, steps=40, lr=1e-3),
    }
)  # fmt: skip
SCALES = {scale.name: scale for scale in (FULL, SMALL)}
