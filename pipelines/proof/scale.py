"""How large a proof is: clips, model and steps. ``full`` is the proof itself, ``small`` shows that all of it runs."""

from __future__ import annotations

from data_specs.configuration import Settings


class Training(Settings):
    """Clips a step, steps, and the learning rate at its highest."""

    batch: int
    steps: int
    lr: float


class Scale(Settings):
    """Clips of each split, frames and regions kept of each clip, sizes of the model, and its three trainings.

    seeds: of the model and of what it is shown; the clips are the same. answer_questions: of each clip a step. curves:
    whether the runs beside the main journey are made.
    """

    name: str
    train: int
    val: int
    test: int
    frames: int = 8
    regions: int = 30
    seeds: tuple[int, ...]
    width: int
    depth: int
    heads: int
    joint_dim: int
    text_width: int
    text_layers: int
    pretrain: Training
    tune: Training
    answer: Training
    answer_questions: int
    curves: bool


FULL = Scale(
    name="full", train=4000, val=500, test=1000, seeds=(0, 1, 2),
    width=128, depth=3, heads=4, joint_dim=128, text_width=128, text_layers=2,
    pretrain=Training(batch=128, steps=400, lr=1e-3),
    tune=Training(batch=64, steps=400, lr=5e-4),
    answer=Training(batch=64, steps=400, lr=1e-3),
    answer_questions=4, curves=True,
)  # fmt: skip
SMALL = FULL.model_copy(
    update={
        "name": "small", "train": 120, "val": 12, "test": 40, "frames": 4, "seeds": (0,), "curves": False,
        "pretrain": Training(batch=32, steps=100, lr=1e-3),
        "tune": Training(batch=32, steps=60, lr=5e-4),
        "answer": Training(batch=32, steps=60, lr=1e-3),
    }
)  # fmt: skip
SCALES = {scale.name: scale for scale in (FULL, SMALL)}
