"""The journal: lines that are right after any stop, events, and the door to Weights & Biases."""

from __future__ import annotations

import json
import math
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_specs.errors import InputError
from train.run.journal import METRICS_NAME, VALIDATION, Journal
from train.run.wandb_log import as_logged


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]


def test_a_line_a_step_and_a_validation(tmp_path: Path) -> None:
    with closing(Journal(tmp_path, 0)) as journal:
        journal.write({"step": 1, "epoch": 0, "loss": 2.5, "grad_norm": math.inf})
        journal.write({"step": 1, "r1_t2v": 0.5}, VALIDATION)
        assert len(lines(tmp_path)) == 2, "a line is there at once, not when a buffer is full"
        journal.sync()
    assert lines(tmp_path) == [
        {"step": 1, "kind": "train", "epoch": 0, "loss": 2.5, "grad_norm": None},
        {"step": 1, "kind": "validation", "r1_t2v": 0.5},
    ]


def test_later_steps_are_dropped_and_made_again(tmp_path: Path) -> None:
    with closing(Journal(tmp_path, 0)) as journal:
        for step in (1, 2, 3, 4):
            journal.write({"step": step, "loss": step})
            journal.write({"step": step, "r1_t2v": step}, VALIDATION)
    with (tmp_path / METRICS_NAME).open("a") as stream:
        stream.write('not json\n{"loss": 1}\n[1]\n{"step": "x"}\n{"step": 1, "kind": "train", "loss": 1}')  # no newline
    with closing(Journal(tmp_path, 2)) as journal:
        journal.write({"step": 3, "loss": 30})
    assert [(line["step"], line["kind"], line.get("loss")) for line in lines(tmp_path)] == [
        (1, "train", 1), (1, "validation", None), (2, "train", 2), (2, "validation", None), (3, "train", 30),
    ]  # fmt: skip
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 30)]
    assert [event.step for event in events.Scalars("validation/r1_t2v")] == [1, 2]


def test_without_the_package_wandb_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"not installed.*\[wandb\].*--set wandb=null") as caught:
        Journal(tmp_path, 0, wandb="project")
    assert caught.value.exit_code == 2 and list(tmp_path.iterdir()) == []


def test_names_on_wandb() -> None:
    metrics = {"step": 3, "epoch": 1, "loss": 2.0, "grad_norm": math.nan}
    assert as_logged(metrics, "train") == {"step": 3, "epoch": 1, "train/loss": 2.0}
    assert as_logged({"step": 3, "r1_t2v": 0.5}, VALIDATION) == {"step": 3, "validation/r1_t2v": 0.5}
