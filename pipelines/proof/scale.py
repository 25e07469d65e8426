"""How large a proof is: clips, model and steps. ``full`` is what docs/results.md shows, ``small`` is for minutes."""

from __future__ import annotations

from data_specs.configuration import Settings


class Scale(Settings):
    """Clips of each split, frames kept of each clip, and how long each kind of training is.

    regions: a frame, at most. seeds: of the model and of what it is shown; the clips are the same. Batch sizes are
    clips a step. answer_questions: of each clip a step. curves: whether the runs beside the main journey are made.
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
    pretrain_batch: int
    pretrain_steps: int
    pretrain_lr: float
    tune_batch: int
    tune_steps: int
    tune_lr: float
    answer_batch: int
    answer_steps: int
    answer_lr: float
    answer_questions: int
    curves: bool


FULL = Scale(
    name="full", train=4000, val=500, test=1000, seeds=(0, 1, 2),
    width=128, depth=3, heads=4, joint_dim=128, text_width=128, text_layers=2,
    pretrain_batch=128, pretrain_steps=400, pretrain_lr=1e-3,
    tune_batch=64, tune_steps=400, tune_lr=5e-4,
    answer_batch=64, answer_steps=400, answer_lr=1e-3, answer_questions=4, curves=True,
)  # fmt: skip
SMALL = FULL.model_copy(
    update={
        "name": "small", "train": 120, "val": 12, "test": 40, "frames": 4, "seeds": (0,), "pretrain_steps": 100,
        "tune_steps": 60, "answer_steps": 60, "pretrain_batch": 32, "tune_batch": 32, "answer_batch": 32,
        "curves": False,
    }
)  # fmt: skip
SCALES = {scale.name: scale for scale in (FULL, SMALL)}
