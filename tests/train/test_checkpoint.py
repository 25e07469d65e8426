"""Checkpoints: whole or ignored, pruned, and equal after a round trip."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from data_specs.errors import InputError
from train import checkpoint
from train.checkpoint import Checkpoint, Position, RandomStates


def example(step: int) -> Checkpoint:
    torch.manual_seed(step)
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    return Checkpoint(
        Position(step, 1, 2), "shards", layer.state_dict(), optimiser.state_dict(), {}, RandomStates.capture()
    )


def test_round_trip(tmp_path: Path) -> None:
    before = example(7)
    after = checkpoint.read(checkpoint.write(tmp_path, before, keep=1))
    assert (after.position, after.data, after.scaler) == (before.position, before.data, before.scaler)
    torch.testing.assert_close(after.model, dict(before.model), rtol=0, atol=0)
    assert after.optimiser["param_groups"] == before.optimiser["param_groups"]
    for key, state in before.optimiser["state"].items():
        torch.testing.assert_close(after.optimiser["state"][key], state, rtol=0, atol=0)


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    random.seed(1), np.random.seed(1)
    folder = checkpoint.write(tmp_path, example(1), keep=1)

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first = draw()
    assert draw() != first
    checkpoint.read(folder).random.restore()
    assert draw() == first


def test_latest_ignores_what_is_not_committed_or_not_whole(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    folders = [checkpoint.write(tmp_path, example(step), keep=9) for step in (1, 2, 10)]
    assert checkpoint.latest(tmp_path) == folders[2]
    weights = folders[2] / checkpoint.MODEL
    weights.write_bytes(weights.read_bytes()[:-1])  # torn
    assert checkpoint.latest(tmp_path) == folders[1]
    (folders[1] / checkpoint.RECORD).unlink()  # killed before the commit
    assert checkpoint.latest(tmp_path) == folders[0]
    (folders[0] / checkpoint.RECORD).write_text("{")  # a disk's fault
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(InputError, match="no committed checkpoint"):
        checkpoint.read(folders[1])


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint.write(tmp_path, example(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_a_step_is_written_over_its_uncommitted_leftover(tmp_path: Path) -> None:
    leftover = tmp_path / "step-00000005"
    leftover.mkdir()
    (leftover / "rubbish").write_text("")
    assert checkpoint.write(tmp_path, example(5), keep=1) == checkpoint.latest(tmp_path) == leftover
    assert not (leftover / "rubbish").exists()


def test_a_torn_later_one_never_takes_the_place_of_the_newest(tmp_path: Path) -> None:
    for step in (5, 10):
        torn = checkpoint.write(tmp_path, example(step), keep=2)
    (torn / checkpoint.MODEL).write_bytes(b"")
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000005"
    written = checkpoint.write(tmp_path, example(7), keep=1)  # gone on with from step 5
    assert checkpoint.latest(tmp_path) == written
    assert sorted(tmp_path.iterdir()) == [written]
