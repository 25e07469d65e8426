"""The steps that are measured are those of a run."""

from __future__ import annotations

import pytest
import torch

from train.config import ModelConfig, TrainConfig
from train.forecast.trial import made_up, measure
from train.keeping.ema import Ema
from train.tasks.task import task_of


def test_measured_steps_clip_and_average(model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {
        "out": "run", "model": model_config.model_dump(), "device": "cpu",
        "data": {"shards": ["shards"], "frames": 1, "regions": 4},
        "optimiser": {"clip_norm": 1e-3, "ema_decay": 0.9},
    }  # fmt: skip
    config = TrainConfig.model_validate(tree)
    updates, update = [], Ema.update
    monkeypatch.setattr(Ema, "update", lambda self, model: (updates.append(model), update(self, model)))
    task = task_of(config)
    step_s, _ = measure(config, task, [made_up(config, 3)])
    norm = torch.nn.utils.get_total_norm([p.grad for p in task.model.parameters() if p.grad is not None])
    assert norm.item() == pytest.approx(1e-3, rel=1e-2)
    assert step_s > 0 and len(updates) > 3
