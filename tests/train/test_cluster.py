"""Ray Train: ranks that die, are told to stop, find bad input, or get company."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_specs.configuration import dump
from data_specs.errors import InputError
from tests.processes import parent_of
from tests.train.children import start_ranks
from train.config import ModelConfig, TrainConfig
from train.keeping.checkpoint_folder import latest
from train.run.run_folder import CHECKPOINTS, LOCK

pytestmark = pytest.mark.ray
STEPS = 80


@pytest.fixture(scope="module")
def settings(
    make_shards: Callable[..., Path], model_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., TrainConfig]:
    folder = tmp_path_factory.mktemp("cluster")
    shards = make_shards(folder / "shards", (13, 5, 22))

    def make(name: str, **changes: Any) -> TrainConfig:
        tree = {
            "out": folder / name,
            "model": model_config.model_dump(),
            "data": {"shards": [shards], "frames": 2, "regions": 4, "batch_size": 4, "shuffle_window": 3},
            "optimiser": {"lr": 1e-3},
            "max_steps": STEPS, "threads": 1, "device": "cpu", "checkpoint_every": 10, "keep": 100, "seed": 5,
        }  # fmt: skip
        return TrainConfig.model_validate(tree | changes)

    return make


def lines(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    return [json.loads(line) for line in whole]


def losses(run: Path) -> list[tuple[float, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines(run)]


def workers() -> list[int]:
    """Process ids of Ray Train's workers of the cluster that this process started: its descendants."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = b"RayTrainWorker" in (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if named and os.getpid() in ancestors(int(process.name)):
            found.append(int(process.name))
    return found


def ancestors(process: int) -> set[int]:
    found: set[int] = set()
    while process > 1:
        found.add(process := parent_of(process))
    return found


def once(run: Path, step: int, act: Callable[[], Any]) -> threading.Thread:
    """Acts when the run has come to a step."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (done := lines(run)) and done[-1]["step"] >= step:
                act()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def undisturbed(config: TrainConfig) -> Path:
    """The same run with as many ranks, without Ray and without a death."""
    file = config.out.parent / f"{config.out.name}.yaml"
    file.write_text(dump(config))
    ranks = start_ranks(["run", str(file)], config.out.parent, 2)
    assert [rank.ended() for rank in ranks] == [0, 0], ranks[0].said()
    return config.out


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_rank_changes_nothing(ray_cluster: Any, settings: Callable[..., TrainConfig]) -> None:
    from train.cluster import train_on_cluster

    killed: list[int] = []

    def kill_one() -> None:
        killed.append(max(workers()))
        os.kill(killed[0], signal.SIGKILL)

    config = settings("killed")
    killer = once(config.out, 25, kill_one)
    outcome = train_on_cluster(config, False, 2, None)
    killer.join()
    assert len(killed) == 1
    assert (outcome.steps, outcome.model) == (STEPS, config.out / "model")
    assert losses(config.out) == losses(undisturbed(settings("clean")))
    assert [step for step, *_ in losses(config.out)] == list(range(1, STEPS + 1))
    assert left_in(config.out) == left_in(settings("clean").out)
    assert not [name for name in left_in(config.out.parent) if name.startswith(".")]
    assert {name for name in left_in(config.out) if name.startswith(".")} == {LOCK}


def test_workers_join_sigterm_saves_and_bad_input_is_one_line(
    ray_cluster: Any, settings: Callable[..., TrainConfig], caplog: pytest.LogCaptureFixture
) -> None:
    from train.cluster import train_on_cluster

    @ray_cluster.remote(num_cpus=1)
    class Another:
        """Somebody else's work."""

        def ready(self) -> None:
            pass

    def make_room() -> None:
        ray_cluster.kill(another)
        while len(workers()) < 2:
            time.sleep(0.05)
        once(config.out, lines(config.out)[-1]["step"] + 3, lambda: os.kill(os.getpid(), signal.SIGTERM))

    another = Another.remote()
    ray_cluster.get(another.ready.remote())
    config = settings("growing", max_steps=100_000, epochs=100_000)
    once(config.out, 5, make_room)
    outcome = train_on_cluster(config, False, 2, None, least=1)
    assert "the cluster has room for more workers; going on from step" in caplog.text
    assert (outcome.model, outcome.interrupted) == (None, False)
    saved = latest(config.out / CHECKPOINTS)
    assert saved is not None and saved.name == f"step-{outcome.steps:08d}"
    assert [step for step, *_ in losses(config.out)] == list(range(1, outcome.steps + 1))
    assert not (config.out / ".stop").exists()
    with pytest.raises(InputError, match="a run stands here already"):
        train_on_cluster(config, False, 1, None)
    moved = config.model_copy(update={"seed": 6})
    with pytest.raises(InputError, match="seed was 5, is 6") as refused:  # a worker finds it, as it knows its device
        train_on_cluster(moved, True, 1, None)
    assert "\n" not in refused.value.message and "Traceback" not in refused.value.message
    with pytest.raises(InputError, match="choose from 1 to --workers"):
        train_on_cluster(moved, True, 1, None, least=2)
    with pytest.raises(InputError, match="3 workers of 1 CPU each want more than the 2 CPU"):
        train_on_cluster(moved, True, 3, None)
