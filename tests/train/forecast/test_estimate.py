"""What a run will take: counts as the stream's, seconds of real steps, bytes of real checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from data_specs.configuration import dump
from train.__main__ import main
from train.config import ModelConfig, TrainConfig
from train.forecast.counts import Counts, checkpoint_bytes, counts_of
from train.forecast.estimate import Measured, Prediction, lines
from train.stream import RegionStream

STEP = Measured(0.5, None, 1000)


@pytest.fixture
def config(make_shards: Callable[..., Path], model_config: ModelConfig, tmp_path: Path) -> TrainConfig:
    first, second = make_shards(tmp_path / "first", (7, 5, 2)), make_shards(tmp_path / "second", (4, 5))
    tree = {
        "out": tmp_path / "run",
        "model": model_config.model_dump(),
        "data": {"shards": [first, second], "frames": 2, "regions": 4, "batch_size": 4},
        "epochs": 3, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return TrainConfig.model_validate(tree)


def changed(config: TrainConfig, **data: Any) -> TrainConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


@pytest.mark.parametrize(
    "data",
    [
        {}, {"subset": 0.5}, {"epoch_samples": 9}, {"subset": 0.4, "epoch_samples": 8},
        {"rounds": 3}, {"rounds": 3, "epoch_samples": 30}, {"rounds": 2, "subset": 0.4, "epoch_samples": 8},
    ],
)  # fmt: skip
def test_counts_are_the_streams(config: TrainConfig, data: dict[str, float]) -> None:
    config = changed(config, **data)
    stream = RegionStream(config.data, config.model.box_dim)
    batches = stream.batches_per_epoch
    assert counts_of(config, [14, 9]) == Counts(batches, stream.samples_per_epoch, 3 * batches)
    assert len(list(stream.epoch(1))) == batches
    assert counts_of(config.model_copy(update={"max_steps": 2}), [14, 9]).steps == 2


@given(steps=st.integers(1, 10**7), ranks=st.integers(1, 512), step_s=st.floats(0.01, 100), reading_s=st.floats(0, 100))
def test_hours_are_those_of_the_slower_part(steps: int, ranks: int, step_s: float, reading_s: float) -> None:
    measured = Measured(step_s, reading_s, 0)
    found = Prediction(Counts(1, 1, steps), measured, ranks, "cuda", 0, 1, 0.0)
    assert found.device_hours == pytest.approx(steps * max(step_s, reading_s) * ranks / 3600)
    assert found.seconds * ranks == pytest.approx(found.device_hours * 3600)


def test_the_published_recipe_on_another_gpu(config: TrainConfig) -> None:
    """A step of 50 TFLOP at 40 % of a V100's 125 TFLOP/s takes a second."""
    found = Prediction(Counts(1, 1, 7200), STEP, 1, "cpu", 0, 1, 50e12)
    assert found.hours_on("V100", "fp16") == pytest.approx(2)
    assert found.hours_on("A100", "bf16") == pytest.approx(2 * 125 / 312)
    recipe = changed(config, frames=1, subset=0.5).model_copy(update={"epochs": 50})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"preset": "base"})})
    assert list(lines(recipe, found))[-1] == "published for this recipe: 416 V100 GPU-hours"
    assert "published" not in "".join(lines(config, found))
    assert "published" not in "".join(lines(changed(recipe, rounds=2), found))


def test_a_checkpoint_takes_what_is_said(config: TrainConfig) -> None:
    from train.keeping.checkpoint_folder import latest
    from train.start import make_model
    from train.trainer import train

    config = config.model_copy(update={"max_steps": 1})
    train(config)
    newest = latest(config.out / "checkpoints")
    assert newest is not None
    stored = sum(path.stat().st_size for path in newest.glob("*.safetensors"))
    every = sum(parameter.numel() for parameter in make_model(config).parameters())
    assert stored == pytest.approx(checkpoint_bytes(every, every), rel=0.1)


@pytest.mark.parametrize("more", [[], ["--samples", "23", "--ranks", "2"]], ids=["from shards", "made up"])
def test_the_command(config: TrainConfig, tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "config.yaml").write_text(dump(config))
    result = CliRunner().invoke(main, ["estimate", str(tmp_path / "config.yaml"), *more])
    assert result.exit_code == 0, result.output
    steps = counts_of(config, [23] if more else [14, 9]).steps
    assert f"; {steps} steps" in result.output
    assert ("reading its batch" in result.output) == (not more)
    assert ("not in it: the exchange between ranks" in result.output) == bool(more)
    assert not config.out.exists()


def test_without_shards_it_wants_a_number(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump(changed(config, shards=(tmp_path / "none",))))
    result = CliRunner().invoke(main, ["estimate", str(tmp_path / "config.yaml")])
    assert result.exit_code == 2
    assert "no index" in result.output and "say --samples N" in result.output
    assert len(result.output.strip().splitlines()) == 1
