"""A pipeline: variables with defaults, and steps that are commands of the other packages. One YAML each."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from data_specs.configuration import Settings, build, override, read_yaml
from data_specs.errors import InputError, did_you_mean

FOLDER = Path(__file__).parent
PACKAGES = ("data_specs", "extract", "train", "evaluate")


class Variable(Settings):
    """A value that ``--set`` may give. Without a default it must be given; ``about`` says what it is."""

    about: str
    default: Any = None
    required: bool = False


class Requirement(Settings):
    """A file or folder that must be there before the first step, so that a long run does not end for want of it."""

    path: str
    says: str


class Option(Settings):
    """Arguments that a step gets only when a variable has a value."""

    when: str
    arguments: tuple[str, ...]


class Expectation(Settings):
    """After the last step, ``key`` (dotted) of a JSON ``file`` must be at least ``at_least``."""

    file: str
    key: tuple[str, ...]
    at_least: float
    says: str


class Step(Settings):
    """One command. ``{name}`` in an argument stands for a variable; a list variable becomes several arguments.

    config: written before the first step, with variables filled in, to ``{out}/{step}.yaml``, which ``{config}`` names.
    allow: exit codes that do not stop the pipeline, beside 0.
    """

    name: str
    about: str
    command: tuple[str, ...] = Field(min_length=2)
    options: tuple[Option, ...] = ()
    config: dict[str, Any] | None = None
    allow: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _of_our_packages(self) -> Step:
        if self.command[0] not in PACKAGES:
            raise ValueError(f"step {self.name!r}: {self.command[0]!r} is none of {', '.join(PACKAGES)}")
        return self


class Pipeline(Settings):
    """``out`` is a variable every pipeline has: the folder that everything it makes goes into.

    A YAML may say ``extends: NAME``: it is that pipeline with a name, an ``about`` and defaults of its own.
    fresh: a former run's folder is removed first, so that the result is always this code's.
    """

    name: str
    about: str
    fresh: bool = False
    variables: dict[str, Variable]
    requires: tuple[Requirement, ...] = ()
    steps: tuple[Step, ...]
    expect: tuple[Expectation, ...] = ()
    epilogue: str = ""

    @model_validator(mode="after")
    def _has_out(self) -> Pipeline:
        if "out" not in self.variables:
            raise ValueError("variable 'out' is missing")
        return self


def pipeline_names() -> list[str]:
    """Names that ``load_pipeline`` knows."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def pipeline_tree(name: str) -> dict[str, Any]:
    """A pipeline's YAML; what it extends is filled in.

    Raises:
        InputError: an unknown pipeline, or a variable that the one it extends does not have.
    """
    if name not in pipeline_names():
        raise InputError(f"unknown pipeline {name!r}: {did_you_mean(name, pipeline_names())}")
    tree = read_yaml(FOLDER / f"{name}.yaml")
    if "extends" not in tree:
        return tree
    base = pipeline_tree(tree.pop("extends"))
    variables, changed = base["variables"], tree.pop("variables", {})
    unknown = next((key for key in changed if key not in variables), None)
    if unknown is not None:
        raise InputError(
            f"{name}.yaml: variable {unknown!r} is not in {base['name']}: {did_you_mean(unknown, variables)}"
        )
    return base | tree | {"variables": variables | {key: variables[key] | changed[key] for key in changed}}


def load_pipeline(name: str, assignments: tuple[str, ...] = ()) -> tuple[Pipeline, dict[str, Any]]:
    """A pipeline and its variables' values; ``--set STEP.key=value`` reaches into a step's config.

    Raises:
        InputError: an unknown pipeline or variable, or a required one that is not given.
    """
    pipeline = build(Pipeline, pipeline_tree(name), f"{name}.yaml")
    defaults = {key: variable.default for key, variable in pipeline.variables.items()}
    configs = {step.name: step.config for step in pipeline.steps if step.config is not None}
    texts, others = _texts(pipeline, assignments)
    chosen = override({**defaults, **configs}, others) | texts
    unknown = next((key for key in chosen if key not in defaults and key not in configs), None)
    if unknown is not None:
        raise InputError(f"pipeline {name!r} has no {unknown!r}: {did_you_mean(unknown, [*defaults, *configs])}")
    values = {key: chosen[key] for key in defaults}
    tree_like = next((key for key, value in values.items() if isinstance(value, dict)), None)
    if tree_like is not None:
        raise InputError(f"pipeline {name!r}: {tree_like} takes a value, not further keys: {values[tree_like]}")
    for key, variable in pipeline.variables.items():
        if variable.required and values[key] in (None, ""):
            raise InputError(f"pipeline {name!r} needs {key}: {variable.about}; give it with --set {key}=...")
    steps = tuple(
        step.model_copy(update={"config": chosen[step.name]}) if step.name in configs else step
        for step in pipeline.steps
    )
    return pipeline.model_copy(update={"steps": steps}), _resolve(values, defaults)


def _texts(pipeline: Pipeline, assignments: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Variables that are text take what is given to the letter: a folder called ``0123`` or ``a #b`` is no YAML."""
    texts: dict[str, str] = {}
    others = []
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        variable = pipeline.variables.get(name)
        if equals and variable is not None and (variable.default is None or isinstance(variable.default, str)):
            texts[name] = value
        else:
            others.append(assignment)
    return texts, others


def command_line(step: Step, values: dict[str, Any]) -> list[str]:
    """The step's arguments after ``python -m``, variables filled in."""
    arguments = list(step.command)
    for option in step.options:
        if values[option.when] not in (None, "", False):
            arguments += option.arguments
    filled = {**values, "config": str(config_path(step, values))}
    return [text for argument in arguments for text in _fill(argument, filled)]


def config_path(step: Step, values: dict[str, Any]) -> Path:
    """Where a step's configuration is written."""
    return Path(str(values["out"])) / f"{step.name}.yaml"


def config_text(step: Step, values: dict[str, Any]) -> str:
    """A step's configuration as YAML, variables filled in; a value that is one variable keeps its type."""
    return yaml.safe_dump(_fill_tree(step.config, values), sort_keys=False, allow_unicode=True)


def fill(text: str, values: dict[str, Any]) -> str:
    """``text`` with each ``{name}`` replaced by that variable's value.

    Raises:
        InputError: a name that is no variable, or stray braces.
    """
    try:
        return text.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{text!r}: {error} is no variable of this pipeline; double a brace that is meant") from None


def _resolve(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Defaults may use other variables, once: ``out: shards/{dataset}``. What the user gave stays as it is."""
    return {key: _fill_tree(value, values) if value == defaults[key] else value for key, value in values.items()}


def _fill(argument: str, values: dict[str, Any]) -> list[str]:
    whole = _only_variable(argument)
    if whole is not None and isinstance(values[whole], list):
        return [str(item) for item in values[whole]]
    return [fill(argument, values)]


def _fill_tree(node: Any, values: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _fill_tree(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill_tree(item, values) for item in node]
    if isinstance(node, str):
        whole = _only_variable(node)
        return values[whole] if whole is not None else fill(node, values)
    return node


def _only_variable(text: str) -> str | None:
    """The variable that makes up the whole text, if it is one."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return None
    return parts[0][1] if len(parts) == 1 and parts[0][0] == "" and parts[0][1] else None
