"""Pipelines: every YAML is valid, its commands exist, and the runner stops, goes on and checks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import pipelines.pipeline as pipeline_module
from data_specs.errors import InputError
from pipelines.__main__ import main
from pipelines.pipeline import command_line, config_text, load_pipeline, pipeline_names
from pipelines.runner import StepFailed, run_pipeline
from train.config import TrainConfig

GIVEN = {"extract": ("dataset=msrvtt", "root=/data")}


@pytest.mark.parametrize("name", pipeline_names())
def test_steps_are_commands_that_exist(name: str) -> None:
    pipeline, values = load_pipeline(name, GIVEN.get(name, ()))
    for step in pipeline.steps:
        package, command, *arguments = command_line(step, values)
        group = importlib.import_module(f"{package}.__main__").main
        assert isinstance(group, click.Group)
        found = group.commands[command]
        found.make_parser(click.Context(found)).parse_args(list(arguments))  # an unknown option raises
        if step.config is not None:
            TrainConfig.model_validate(yaml.safe_load(config_text(step, values)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "unknown pipeline 'smok': did you mean smoke?"),
        (["extract"], "needs dataset"),
        (["pretrain", "--set", "shard=x"], "did you mean shards?"),
        (["pretrain", "--set", "epochs={a: 1}"], "takes a value"),
        (["eval-msrvtt", "--set", "model=nowhere/model"], "nowhere/model is not there: a model/ folder"),
        (["smoke", "--set", "out=setup.cfg"], "is no folder"),
        (["smoke", "--set", "out=s3://bucket/runs"], "pipelines write to folders"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_overrides_reach_variables_and_step_configs() -> None:
    pipeline, values = load_pipeline("pretrain", ("shards=[a, b]", "pretrain.optimiser.lr=0.1"))
    config = yaml.safe_load(config_text(pipeline.steps[1], values))
    assert config["data"]["shards"] == ["a", "b"]
    assert config["optimiser"]["lr"] == 0.1
    assert config["data"]["batch_size"] == 128


@pytest.mark.parametrize("text", ["/data/a #b", "0123", "1_0", "/data/a: b", '"q" x', "a{b}", "true", ""])
def test_paths_are_taken_to_the_letter(text: str) -> None:
    pipeline, values = load_pipeline("extract", ("dataset=msrvtt", f"out={text}", "root=/x"))
    assert values["out"] == text
    assert text in command_line(pipeline.steps[1], values)


def test_list_and_show() -> None:
    listed = CliRunner().invoke(main, ["list"])
    assert all(name in listed.output for name in pipeline_names())
    shown = CliRunner().invoke(main, ["show", "extract"])
    assert shown.exit_code == 0
    assert "python -m extract run" in shown.output


def test_a_pipeline_that_extends_another_has_its_steps_and_defaults_of_its_own() -> None:
    base, before = load_pipeline("pretrain")
    half, after = load_pipeline("pretrain-half", ("max_steps=7",))
    assert half.steps == base.steps and half.name == "pretrain-half"
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"subset", "epoch_samples", "out", "max_steps"}
    shown = CliRunner().invoke(main, ["show", "pretrain-half"])
    assert shown.exit_code == 0 and "500000" in shown.output and "train run" in shown.output


@pytest.fixture
def own_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a pipeline of `data_specs list` steps and loads it."""
    monkeypatch.setattr(pipeline_module, "FOLDER", tmp_path)

    def make(**changes: object):
        tree = {
            "name": "own",
            "about": "test",
            "variables": {"out": {"about": "folder", "default": str(tmp_path / "out")}},
            "steps": [{"name": "list", "about": "lists", "command": ["data_specs", "list"]}],
            **changes,
        }
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
        return load_pipeline("own")

    return make


def test_a_failing_step_stops_the_run(own_pipeline) -> None:
    failing = {"name": "show", "about": "fails", "command": ["data_specs", "show", "nothing-like-it"]}
    after = {"name": "after", "about": "never", "command": ["data_specs", "make-shapes", "--out", "{out}/never"]}
    with pytest.raises(StepFailed, match="'show' failed with exit code 2") as caught:
        run_pipeline(*own_pipeline(steps=[failing, after]))
    assert caught.value.exit_code == 2


def test_expectations_are_checked(own_pipeline, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"R@1": {"value": 90}}))
    expect = {"file": str(tmp_path / "result.json"), "key": ["R@1", "value"], "says": "too low"}
    run_pipeline(*own_pipeline(expect=[{**expect, "at_least": 90}]))
    with pytest.raises(click.ClickException, match="too low: R@1"):
        run_pipeline(*own_pipeline(expect=[{**expect, "at_least": 91}]))


def test_a_fresh_pipeline_removes_only_what_it_made(own_pipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pipeline(*own_pipeline(fresh=True))
    (out / "result").write_text("old")
    run_pipeline(*own_pipeline(fresh=True))
    assert not (out / "result").exists()
    (out / "pipeline.json").unlink()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a former run"):
        run_pipeline(*own_pipeline(fresh=True))
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_extension_changes_only_what_is_there(own_pipeline, tmp_path: Path) -> None:
    own_pipeline()
    (tmp_path / "more.yaml").write_text("{name: more, extends: own, variables: {ouch: {default: x}}}")
    with pytest.raises(InputError, match=r"more\.yaml: variable 'ouch' is not in own: did you mean out"):
        load_pipeline("more")


def test_steps_are_our_own_packages_only(own_pipeline) -> None:
    with pytest.raises(InputError, match="'os' is none of"):
        own_pipeline(steps=[{"name": "x", "about": "x", "command": ["os", "x"]}])
