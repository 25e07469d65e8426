"""The command line: one line and exit code 2 for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from train.__main__ import main
from train.config import ModelConfig, preset_names


@pytest.fixture
def config(make_shards: Callable[..., Path], text_folder: Path, tmp_path: Path) -> Path:
    tree = {
        "out": str(tmp_path / "run"),
        "model": {"preset": "tiny", "feature_dim": 12, "width": 32, "heads": 2, "text_encoder": str(text_folder)},
        "data": {"shards": [str(make_shards(tmp_path / "shards", (4, 2)))], "batch_size": 32},
        "max_steps": 2, "threads": 1, "device": "cpu",
    }  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", str(config), *arguments])


def test_it_trains_and_says_where_the_model_is(config: Path, tmp_path: Path) -> None:
    result = call(config)
    assert result.exit_code == 0, result.output
    assert f"2 steps done; model: {tmp_path / 'run' / 'model'}" in result.output
    assert "data.batch_size 32 is lowered to the data set's size" in result.output
    assert "step 2/2" in result.output


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("loss.temprature=0.1", "unknown key 'loss.temprature': did you mean temperature"),
        ("model.preset=tinny", "'tinny' is not a preset: did you mean tiny?"),
        ("model.widht=3", "unknown key 'model.widht': did you mean width"),
        ("data.frames=20", "data.frames is 20, but model.frames is 8"),
        ("data.splits=[tran]", "no shard of split 'tran'"),
        ("data.batch_size=1", "data.batch_size"),
        ("device=cuda:77", "'cuda:77' is not on this machine"),
        ("model.heads=3", "width 32 is not a multiple of heads 3"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_and_exit_code_2(config: Path, assignment: str, expected: str) -> None:
    result = call(config, "--set", assignment)
    assert result.exit_code == 2
    assert expected in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = call(tmp_path / "absent.yaml")
    assert result.exit_code == 2 and "no such configuration file" in result.output


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_whole(name: str) -> None:
    config = ModelConfig.model_validate({"preset": name})
    assert config.preset == name and config.width % config.heads == 0


def test_the_base_preset_is_the_published_model() -> None:
    config = ModelConfig.model_validate({"preset": "base"})
    assert (config.width, config.depth, config.heads, config.joint_dim) == (768, 12, 12, 256)
    assert (config.text_encoder, config.feature_dim) == ("distilbert-base-uncased", 2048)
