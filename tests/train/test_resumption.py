"""Runs that are killed, told to stop, or broken, and go on exactly where they were."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.train.children import Child, start, start_ranks
from tests.train.curves import curve
from train.config import ModelConfig

STEPS = 60


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), (3, 5, 2, 6, 1, 4))


@pytest.fixture(scope="module")
def written(
    shards: Path, model_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Path]]:
    """``written(name, **changes)``: the configuration of a run in a folder of its own; the file, and the run folder."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, **changes: Any) -> tuple[Path, Path]:
        tree = {
            "out": str(folder / name),
            "model": model_config.model_dump(mode="json"),
            "data": {"shards": [str(shards)], "frames": 2, "regions": 4, "batch_size": 6, "shuffle_window": 3},
            "optimiser": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 2, "ema_decay": 0.9},
            "epochs": STEPS, "max_steps": STEPS, "threads": 1, "device": "cpu", "checkpoint_every": 4, "seed": 5,
        }  # fmt: skip
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path, folder / name

    return make


@pytest.fixture(scope="module")
def whole(written: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    config, run = written("whole")
    child = start(["run", str(config)], tmp_path_factory.mktemp("logs") / "whole.log")
    assert child.ended() == 0, child.said()
    return run


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def reach(child: Child, run: Path, step: int) -> None:
    """Waits until a run has come to a step, or has ended."""
    while child.process.is_alive() and steps(run) < step:
        time.sleep(0.002)


def same_weights(one: Path, other: Path) -> bool:
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_ten_kills_change_nothing(written: Callable[..., tuple[Path, Path]], whole: Path, tmp_path: Path) -> None:
    config, run = written("killed")
    places, killed = random.Random(0), 0
    while killed < 10:
        child = start(["run", str(config), "--resume"], tmp_path / "killed.log")
        reach(child, run, steps(run) + places.randint(1, 4))
        assert child.process.is_alive(), f"ended before it was killed: {child.said()}"
        os.kill(child.process.pid, signal.SIGKILL)
        assert child.ended() == -signal.SIGKILL
        killed += 1
    last = start(["run", str(config), "--resume"], tmp_path / "last.log")
    assert last.ended() == 0, last.said()
    assert curve(run) == curve(whole) and len(curve(run)) == STEPS
    assert same_weights(run, whole)
    assert not list(run.rglob("*.partial")), "nothing half written is left"


def test_sigterm_saves_and_ends_with_0(written: Callable[..., tuple[Path, Path]], whole: Path, tmp_path: Path) -> None:
    config, run = written("terminated", checkpoint_every=1000)
    child = start(["run", str(config)], tmp_path / "terminated.log")
    reach(child, run, 7)
    os.kill(child.process.pid, signal.SIGTERM)
    assert child.ended() == 0, child.said()
    done = steps(run)
    assert 7 <= done < STEPS and (run / "checkpoints" / f"step-{done:08d}" / "commit.json").exists()
    assert "go on with the same command and --resume" in child.said() and not (run / "model").exists()
    assert start(["run", str(config), "--resume"], tmp_path / "rest.log").ended() == 0
    assert curve(run) == curve(whole) and same_weights(run, whole)


def test_sigusr1_saves_and_goes_on(written: Callable[..., tuple[Path, Path]], whole: Path, tmp_path: Path) -> None:
    config, run = written("signalled", checkpoint_every=1000, keep=9)
    child = start(["run", str(config)], tmp_path / "signalled.log")
    reach(child, run, 5)
    os.kill(child.process.pid, signal.SIGUSR1)
    assert child.ended() == 0, child.said()
    assert len(list((run / "checkpoints").glob("step-*"))) == 2, "the one that was asked for, and the last"
    assert curve(run) == curve(whole)


def test_ctrl_c_and_a_stop_file_save_too(written: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    config, run = written("stopped", checkpoint_every=1000)
    child = start(["run", str(config)], tmp_path / "stopped.log")
    reach(child, run, 3)
    os.kill(child.process.pid, signal.SIGINT)
    assert child.ended() == 130, child.said()
    child = start(["run", str(config), "--resume"], tmp_path / "stopped.log")
    reach(child, run, steps(run) + 3)
    (run / ".stop").touch()
    assert child.ended() == 0 and not (run / ".stop").exists(), child.said()
    assert (run / "checkpoints" / f"step-{steps(run):08d}" / "commit.json").exists()


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    written: Callable[..., tuple[Path, Path]], whole: Path, tmp_path: Path
) -> None:
    config, run = written("torn")
    shutil.rmtree(run, ignore_errors=True)
    child = start(["run", str(config)], tmp_path / "torn.log")
    reach(child, run, 22)
    os.kill(child.process.pid, signal.SIGTERM)
    assert child.ended() == 0, child.said()
    newest = max((run / "checkpoints").glob("step-*"))
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    last = start(["run", str(config), "--resume"], tmp_path / "last.log")
    assert last.ended() == 0, last.said()
    assert newest.name in last.said(), "it says which one it passed over"
    assert curve(run) == curve(whole)


def test_without_a_whole_checkpoint_nothing_is_begun_anew(
    written: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    config, run = written("broken", max_steps=9, keep=9)
    assert start(["run", str(config)], tmp_path / "first.log").ended() == 0
    before = (run / "metrics.jsonl").read_bytes()
    for weights in run.glob("checkpoints/*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    refused = start(["run", str(config), "--resume"], tmp_path / "refused.log")
    assert refused.ended() == 2 and "no checkpoint is whole any more" in refused.said()
    assert (run / "metrics.jsonl").read_bytes() == before
    assert len(list((run / "checkpoints").iterdir())) == 3


def test_ranks_that_see_different_disks_stop(written: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    config, _ = written("apart", max_steps=5, optimiser={"lr": 1e-3})
    for child in start_ranks(["run", str(config)], tmp_path, 2):
        assert child.ended() == 0, child.said()
    elsewhere = tmp_path / "another disk"
    first, second = start_ranks(
        ["run", str(config), "--resume", "--set", "max_steps=9"], tmp_path, 2,
        [[], ["--set", f"out={elsewhere}"]],
    )  # fmt: skip
    assert (first.ended(), second.ended()) == (2, 2)
    assert "is this folder on a disk that all ranks share?" in first.said()
    assert "rank 1" in first.said() and "Traceback" not in first.said() + second.said()


def test_two_ranks_resume_exactly_and_on_one_rank_the_same_samples_follow(
    written: Callable[..., tuple[Path, Path]], make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    def ranks(config: Path, *options: str) -> list[Child]:
        return start_ranks(["run", str(config), *options], tmp_path, 2)

    # Without dropout, which depends on the rank, one rank can be compared with two.
    held = {"shards": [str(make_shards(tmp_path / "held", (5,), split="val"))], "every": 5}
    settled = {
        "max_steps": 12,
        "checkpoint_every": 2,
        "validation": held,
        "optimiser": {"lr": 1e-3, "freeze_text": True},
    }
    config, calm = written("calm", **settled)
    for child in ranks(config):
        assert child.ended() == 0, child.said()
    assert sum(line["kind"] == "train" for line in curve(calm)) == 12
    assert [line["step"] for line in curve(calm) if line["kind"] == "validation"] == [5, 10, 12]
    config, run = written("struck", **settled)
    children = ranks(config)
    reach(children[0], run, 6)
    os.kill(children[1].process.pid, signal.SIGKILL)
    os.kill(children[0].process.pid, signal.SIGKILL)
    assert {child.ended() for child in children} == {-signal.SIGKILL}
    shutil.copytree(run, run.with_name("smaller"))
    for child in ranks(config, "--resume"):
        assert child.ended() == 0, child.said()
    assert curve(run) == curve(calm) and same_weights(run, calm)

    config, smaller = written("smaller", **settled)
    alone = start(["run", str(config), "--resume"], tmp_path / "alone.log")
    assert alone.ended() == 0, alone.said()
    after, expected = ([line["loss"] for line in curve(place) if line["kind"] == "train"] for place in (smaller, calm))
    assert len(after) == 12
    assert "going on from" in alone.said()
    assert after == pytest.approx(expected, rel=1e-3), "the same samples, in sums of another order"
