"""The loop: it learns, goes on exactly after a stop, and refuses what it should."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_specs.configuration import load
from data_specs.errors import InputError
from tests.train.curves import curve
from train import checkpoint, losses
from train.config import ModelConfig, TrainConfig
from train.model import RegionTextModel
from train.resolution import resolved
from train.run.finiteness import BAD_BATCH, NonFiniteError
from train.run.run_folder import open_run
from train.trainer import Trainer, train
from train.validation import Retrieval, recall_in_batch


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), (3, 5, 2))


@pytest.fixture
def settings(shards: Path, model_config: ModelConfig, tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(name: str = "run", **changes: Any) -> TrainConfig:
        tree = {
            "out": tmp_path / name,
            "model": model_config.model_dump(),
            "data": {"shards": [shards], "frames": 2, "regions": 4, "batch_size": 4, "shuffle_window": 3},
            "optimiser": {"lr": 1e-3, "milestones": [3], "warmup_steps": 2},
            "epochs": 4, "threads": 1, "device": "cpu", "checkpoint_every": 1000, "seed": 5,
        }  # fmt: skip
        return TrainConfig.model_validate(tree | changes)

    return make


@pytest.mark.parametrize("stop", [1, 2, 5])  # within an epoch, at its end, and in a later one
def test_a_resumed_run_equals_an_uninterrupted_one(
    settings: Callable[..., TrainConfig], stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(settings("whole"))
    assert (whole.steps, len(curve(whole.run))) == (8, 8)

    step = Trainer._step

    def interrupted_step(self: Trainer, *arguments: Any) -> dict[str, float]:
        if self.position.step == stop - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted_step)
        first = train(settings("broken"))
    assert (first.steps, first.model) == (stop, None)
    with (first.run / "metrics.jsonl").open("a") as lines:  # a later kill: steps that no checkpoint holds
        lines.write('{"step": 99, "loss": 1}\n{"step": 1')
    torch.manual_seed(123)
    second = train(settings("broken"), resume=True)
    assert second.steps == 8
    assert curve(second.run) == curve(whole.run)
    one, other = (load_file(run.model / "model.safetensors") for run in (whole, second))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_is_learnt_by_heart(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    eight = make_shards(tmp_path / "eight", (8,))
    data = {"shards": [eight], "frames": 3, "regions": 4, "batch_size": 8, "draw_frames": False}
    optimiser = {"lr": 3e-3, "schedule": "cosine"}
    run = train(settings(data=data, epochs=300, optimiser=optimiser, loss={"sharpness": 20})).run
    learnt = curve(run)
    assert learnt[0]["batch_v2t_R@1"] < 0.6 and learnt[0]["loss"] > 4
    # Of the last steps: one alone is noisy, by dropout and by which captions it has.
    last = {name: statistics.median(line[name] for line in learnt[-20:]) for name in learnt[0] if "_R@1" in name}
    assert list(last.values()) == [1, 1]
    assert statistics.median(line["loss"] for line in learnt[-20:]) < 0.01


def test_validation_keeps_the_best_average(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    held = make_shards(tmp_path / "held", (6,), split="val")
    config = settings(
        validation={"shards": [held], "every": 3, "samples": 5},
        optimiser={"lr": 1e-3, "milestones": [3], "ema_decay": 0.5},
    )
    outcome = train(config)
    found = {line["step"]: line["R@1"] for line in curve(outcome.run) if line["kind"] == "validation"}
    assert sorted(found) == [3, 6, 8], "every third step, and the last"
    kept = checkpoint.read(max((config.out / "checkpoints").iterdir()))
    assert kept.standing.best is not None and kept.standing.best.metric == max(found.values())
    first_best = min(step for step, value in found.items() if value == max(found.values()))
    assert kept.standing.best.step == first_best
    written = load_file(outcome.model / "model.safetensors")
    assert all(torch.equal(written[name], kept.ema[name]) for name in written)
    assert any(not torch.equal(written[name], kept.model[name]) for name in written), "an average, not the last weights"
    best = RegionTextModel.from_pretrained(config.out / "best")
    again = Retrieval(config, [])(best, nullcontext)
    assert again["R@1"] == max(found.values())


def test_validation_wants_regions_of_the_same_detector(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    other = make_shards(tmp_path / "other", (4,), split="val", detector="another")
    config = settings(validation={"shards": [other]})
    with pytest.raises(InputError, match=r"made differently \(detector: 'none' and 'another'\)"):
        train(config)
    assert not config.out.exists()


def test_settings_alone_are_no_run(settings: Callable[..., TrainConfig]) -> None:
    config = settings(max_steps=1)
    open_run(config).close()
    assert train(config).model is not None


def test_a_finished_run_without_checkpoints_is_left_alone(settings: Callable[..., TrainConfig]) -> None:
    config = settings(max_steps=2)
    train(config)
    shutil.rmtree(config.out / "checkpoints")
    lines = (config.out / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="a finished run without its checkpoints"):
        train(config, resume=True)
    assert (config.out / "metrics.jsonl").read_bytes() == lines


def test_a_run_starts_from_a_finished_model(settings: Callable[..., TrainConfig]) -> None:
    first = train(settings("first", max_steps=3))
    frames = settings().model.model_copy(update={"frames": 5})
    config = settings("second", start={"model": first.model}, model=frames.model_dump(), max_steps=1)
    before = RegionTextModel.from_pretrained(first.model).state_dict()
    second = train(config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"lr": 1e-12})}))
    after = RegionTextModel.from_pretrained(second.model).state_dict()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name][:, :5] if "temporal" in name else before[name])
    with pytest.raises(InputError, match=r"set model\.width=32"):
        train(settings("third", start={"model": first.model}, model={**frames.model_dump(), "width": 64}))


def test_chunks_do_not_change_what_is_learnt(settings: Callable[..., TrainConfig]) -> None:
    settled = {"optimiser": {"lr": 1e-3, "freeze_text": True}, "max_steps": 4}
    whole, chunked = (curve(train(settings(str(size), chunk_size=size, **settled)).run) for size in (None, 3))
    for name in ("loss", "grad_norm", "batch_v2t_R@1"):
        assert [line[name] for line in chunked] == pytest.approx([line[name] for line in whole], rel=1e-4)


def test_a_learnt_temperature_moves_and_is_written(settings: Callable[..., TrainConfig]) -> None:
    config = settings(loss={"learn_temperature": True, "temperature": 0.1})
    outcome = train(config)
    temperatures = [line["temperature"] for line in curve(outcome.run)]
    assert len(set(temperatures)) == len(temperatures)
    assert RegionTextModel.from_pretrained(outcome.model).temperature.item() == pytest.approx(temperatures[-1])


def test_the_run_folder_is_complete(settings: Callable[..., TrainConfig]) -> None:
    config = settings(checkpoint_every=3)
    outcome = train(config)
    resolved = config.model_copy(update={"precision": "fp32"})
    assert load(TrainConfig, config.out / "config.yaml") == resolved
    assert outcome.model == config.out / "model" and {path.name for path in config.out.glob(".*")} == {".lock"}
    assert list((config.out / "tensorboard").glob("events*"))
    steps = sorted(path.name for path in (config.out / "checkpoints").iterdir())
    assert steps == ["step-00000006", "step-00000008"]
    model = RegionTextModel.from_pretrained(outcome.model)
    saved = checkpoint.read(config.out / "checkpoints" / steps[-1]).model
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    line = json.loads((config.out / "metrics.jsonl").read_text().splitlines()[0])
    assert line["loss"] == pytest.approx(line["loss_global"] + line["loss_local"], rel=1e-5)
    assert 0 <= line["waiting"] <= 1 and line["samples_per_s"] > 0 and line["grad_norm"] > 0


def test_a_run_folder_in_use_is_not_written_over(settings: Callable[..., TrainConfig], tmp_path: Path) -> None:
    config = settings(max_steps=1)
    train(config)
    with pytest.raises(InputError, match=r"a run stands here already.*--resume"):
        train(config)
    changed = settings(max_steps=2, seed=6)
    with pytest.raises(InputError, match="seed was 5, is 6"):
        train(changed, resume=True)
    assert train(settings(max_steps=2), resume=True).steps == 2
    with pytest.raises(InputError, match="holds files but no run"):
        train(settings("").model_copy(update={"out": tmp_path}))


def test_resume_refuses_other_shards(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = settings(max_steps=1)
    train(config)
    data = config.data.model_dump() | {"shards": [make_shards(tmp_path / "other", (3, 5, 3))]}
    with pytest.raises(InputError, match="not those that this run was started on"):
        train(settings(max_steps=2, data=data), resume=True)


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(
    settings: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(losses.ContrastiveLoss, "__call__", _nan_loss)
    with pytest.raises(NonFiniteError, match=r"step 1: the loss is not finite.*clip%20\d\d\d%2Emp4") as caught:
        train(settings())
    assert caught.value.exit_code == 1 and caught.value.message.count("clip%20") == 4
    saved = json.loads((tmp_path / "run" / BAD_BATCH).read_text())
    assert saved["step"] == 1 and len(saved["keys"]) == 4 and all(key in caught.value.message for key in saved["keys"])


def _nan_loss(_self: Any, pairs: Any) -> Any:
    from train.losses import LossParts

    nan = pairs.video.cls_BE.sum() * float("nan")
    return LossParts(nan, nan, nan, torch.zeros(4, 4))


def test_samples_that_could_not_be_read_are_not_forgotten(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    spoilt = make_shards(tmp_path / "spoilt", (12,))
    tar = next(spoilt.glob("*.tar"))
    whole = tar.read_bytes()
    torn = whole.replace(b'"id":"clip 005.mp4"', b'"id":"clip 905.mp4"')
    assert torn != whole
    tar.write_bytes(torn)
    data = {"shards": [spoilt], "frames": 2, "regions": 4, "batch_size": 4, "verify_hashes": False}
    first = train(settings(data=data, max_steps=3))
    assert len(first.corrupt) == 1 and "clip%20005" in first.corrupt[0]
    assert train(settings(data=data, max_steps=3), resume=True).corrupt == first.corrupt, "nothing was read this time"


def test_a_run_that_is_further_than_its_end(settings: Callable[..., TrainConfig]) -> None:
    train(settings(max_steps=5))
    with pytest.raises(InputError, match="stands at step 5, beyond the 3"):
        train(settings(max_steps=3), resume=True)


def test_one_process_at_a_time(settings: Callable[..., TrainConfig]) -> None:
    config = settings(max_steps=2)
    train(config)
    with open_run(resolved(config)), pytest.raises(InputError, match="another process is at this run"):
        train(settings(max_steps=3), resume=True)
    assert train(settings(max_steps=3), resume=True).steps == 3


def test_another_feature_width_names_the_key_to_set(settings: Callable[..., TrainConfig]) -> None:
    config = settings()
    wide = config.model.model_copy(update={"feature_dim": 99})
    with pytest.raises(InputError, match=r"set model\.feature_dim=12"):
        train(config.model_copy(update={"model": wide}))
    assert not config.out.exists(), "a start that fails must not bind the next one"
    assert train(config.model_copy(update={"max_steps": 1})).model is not None


def test_half_precision_runs_and_stays_close(settings: Callable[..., TrainConfig]) -> None:
    losses = [curve(train(settings(p, max_steps=2, precision=p)).run)[0]["loss"] for p in ("fp32", "bf16")]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.05)


def test_recall_counts_ties_as_misses() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.9, 0.8]])
    assert recall_in_batch(scores) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
