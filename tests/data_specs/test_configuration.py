"""Configuration: overrides apply where they say, and a wrong key gives one line that names the right ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import Field, ValidationError

from data_specs.configuration import Settings, build, dump, load, override, read_yaml
from data_specs.errors import InputError


class Loss(Settings):
    temperature: float = Field(default=0.05, gt=0)
    weight: float = 1.0


class Run(Settings):
    name: str
    steps: int = 10
    loss: Loss = Loss()


def test_load_applies_overrides_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: a\nloss: {weight: 2}\n")
    run = load(Run, path, ["steps=20", "loss.temperature=0.1"])
    assert run == Run(name="a", steps=20, loss=Loss(temperature=0.1, weight=2.0))
    assert build(Run, yaml.safe_load(dump(run)), "dump") == run


def test_override_leaves_its_input_alone() -> None:
    tree = {"loss": {"weight": 1}}
    assert override(tree, ["loss.weight=2", "new.key=[1, 2]"]) == {"loss": {"weight": 2}, "new": {"key": [1, 2]}}
    assert tree == {"loss": {"weight": 1}}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Run(name="a").steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"name": "a", "step": 3}, "unknown key 'step': did you mean steps?"),
        ({"name": "a", "loss": {"temprature": 1}}, "unknown key 'loss.temprature': did you mean temperature?"),
        ({"name": "a", "loss": {"temperature": -1}}, "loss.temperature: Input should be greater than 0 (given: -1)"),
        ({"steps": "many", "name": "a"}, "steps: Input should be a valid integer"),
        ({}, "key 'name' is missing"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(tree: dict, said: str) -> None:
    with pytest.raises(InputError) as error:
        build(Run, tree, "run.yaml")
    assert error.value.message.startswith("run.yaml: ")
    assert said in error.value.message
    assert "\n" not in error.value.message
    assert error.value.exit_code == 2


@pytest.mark.parametrize("assignment", ["steps", "=3", "name.x=1", "steps=[1"])
def test_a_wrong_assignment(assignment: str) -> None:
    with pytest.raises(InputError, match="--set"):
        override({"name": "a"}, [assignment])


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    with pytest.raises(InputError, match="no such configuration file"):
        read_yaml(path)
    for content, said in ((b"- a\n", "expected a mapping"), (b"a: [", "not valid YAML"), (b"\xff\xfe\xfa", "read")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_yaml(path)
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_yaml(path)
