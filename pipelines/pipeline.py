"""A pipeline: variables with defaults, and steps that are commands of the other packages. One YAML each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from data_specs.configuration import Settings, build, override, read_yaml
from data_specs.errors import InputError, did_you_mean
from pipelines.filling import WHEN, fill_argument, fill_tree, has_value, resolve
from pipelines.need import Need

AUTO = "auto"
FOLDER = Path(__file__).parent
PACKAGES = ("data_specs", "extract", "train", "evaluate")


class Variable(Settings):
    """A value that ``--set`` may give; ``about`` says what it is. A ``required`` one must have a value.

    nothing: a word that stands for no value, where the default is one.
    """

    about: str
    default: Any = None
    required: bool = False
    nothing: str | None = None


class Requirement(Settings):
    """A file or folder that must be there before the first step, so that a long run does not end for want of it.

    when: only where this variable has a value; ``auto``, with which its steps are left out instead, is none.
    """

    path: str
    says: str
    when: str | None = None

    def holds(self, values: dict[str, Any]) -> bool:
        """Whether it is required with these values."""
        return self.when is None or (has_value(values[self.when]) and values[self.when] != AUTO)


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
    when, unless: the step is left out, and that is said, if a variable of ``when`` has no value or ``unless`` has one.
    needs: where the first of ``when`` is ``auto``, the step is left out too if one of these is not there.
    """

    name: str
    about: str
    command: tuple[str, ...] = Field(min_length=2)
    options: tuple[Option, ...] = ()
    config: dict[str, Any] | None = None
    allow: tuple[int, ...] = ()
    when: tuple[str, ...] = ()
    unless: str | None = None
    needs: tuple[Need, ...] = ()

    @model_validator(mode="after")
    def _of_our_packages(self) -> Step:
        if self.command[0] not in PACKAGES:
            raise ValueError(f"step {self.name!r}: {self.command[0]!r} is none of {', '.join(PACKAGES)}")
        if self.needs and not self.when:
            raise ValueError(f"step {self.name!r}: 'needs' without 'when'")
        return self

    def switched_off(self, values: dict[str, Any]) -> str | None:
        """By which variable the step is left out, in words; None where none does that."""
        if self.unless is not None and has_value(values[self.unless]):
            return _is(self.unless, values)
        return next((_is(name, values) for name in self.when if not has_value(values[name])), None)

    def left_out(self, values: dict[str, Any]) -> str | None:
        """Why the step is not run, asked when its turn has come; None where it is run.

        Raises:
            InputError: a manifest that it needs cannot be read.
        """
        off = self.switched_off(values)
        if off is not None or not self.is_automatic(values):
            return off
        return next((lack for need in self.needs if (lack := need.lacking(values)) is not None), None)

    def is_automatic(self, values: dict[str, Any]) -> bool:
        """Whether it depends on what there is that the step is run."""
        return bool(self.needs) and values[self.when[0]] == AUTO


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
    def _has_variables(self) -> Pipeline:
        if "out" not in self.variables:
            raise ValueError("variable 'out' is missing")
        conditions = [name for step in self.steps for name in (*step.when, step.unless)]
        conditions += [option.when for step in self.steps for option in step.options]
        conditions += [requirement.when for requirement in self.requires]
        for name in conditions:
            if name is not None and name not in self.variables:
                raise ValueError(f"{name!r} is a condition, and no variable")
        return self

    @property
    def automatic(self) -> frozenset[str]:
        """The variables that may be ``auto``: what their steps need decides."""
        return frozenset(step.when[0] for step in self.steps if step.needs)

    @property
    def switches(self) -> frozenset[str]:
        """The variables that are true or false, or perhaps ``auto``, and no text."""
        booleans = {key for key, variable in self.variables.items() if isinstance(variable.default, bool)}
        return self.automatic | booleans


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
    values = {key: None if chosen[key] == pipeline.variables[key].nothing else chosen[key] for key in defaults}
    _check_values(pipeline, values)
    steps = tuple(
        step.model_copy(update={"config": chosen[step.name]}) if step.name in configs else step
        for step in pipeline.steps
    )
    given = frozenset(key for key in values if values[key] != defaults[key])
    resolved = resolve(values, given)
    for assignment in others:
        _refuse_unheard(assignment, configs, resolved)
    return pipeline.model_copy(update={"steps": steps}), resolved


def _refuse_unheard(assignment: str, configs: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuses a key below a part of a configuration that is left out with these values."""
    node: Any = configs
    *parents, _ = assignment.partition("=")[0].split(".")
    for key in parents:
        node = node.get(key) if isinstance(node, dict) else None
        when = node.get(WHEN) if isinstance(node, dict) else None
        if when is not None and not has_value(values[when]):
            raise InputError(f"--set {assignment}: {key} is left out, as {when} is {values[when]!r}; set {when}, too")


def _check_values(pipeline: Pipeline, values: dict[str, Any]) -> None:
    for key, variable in pipeline.variables.items():
        value = values[key]
        if isinstance(value, dict):
            raise InputError(f"pipeline {pipeline.name!r}: {key} takes a value, not further keys: {value}")
        if variable.required and value in (None, ""):
            raise InputError(f"pipeline {pipeline.name!r} needs {key}: {variable.about}; give it with --set {key}=...")
        automatic = key in pipeline.automatic
        if key in pipeline.switches and not isinstance(value, bool) and not (automatic and value == AUTO):
            allowed = "true, false or auto" if automatic else "true or false"
            raise InputError(f"pipeline {pipeline.name!r}: {key} is {allowed}, not {value!r}")


def _texts(pipeline: Pipeline, assignments: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Variables that are text take what is given to the letter: a folder called ``0123`` or ``a #b`` is no YAML."""
    texts: dict[str, str] = {}
    others = []
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        variable = pipeline.variables.get(name)
        text = variable is not None and (variable.default is None or isinstance(variable.default, str))
        if equals and text and name not in pipeline.switches:
            texts[name] = value
        else:
            others.append(assignment)
    return texts, others


def command_line(step: Step, values: dict[str, Any]) -> list[str]:
    """The step's arguments after ``python -m``, variables filled in."""
    arguments = list(step.command)
    for option in step.options:
        if has_value(values[option.when]):
            arguments += option.arguments
    filled = {**values, "config": str(config_path(step, values))}
    return [text for argument in arguments for text in fill_argument(argument, filled)]


def config_path(step: Step, values: dict[str, Any]) -> Path:
    """Where a step's configuration is written."""
    return Path(str(values["out"])) / f"{step.name}.yaml"


def config_text(step: Step, values: dict[str, Any]) -> str:
    """A step's configuration as YAML, variables filled in; a value that is one variable keeps its type."""
    return yaml.safe_dump(fill_tree(step.config, values), sort_keys=False, allow_unicode=True)


def _is(name: str, values: dict[str, Any]) -> str:
    value = values[name]
    return f"{name} is {str(value).lower() if isinstance(value, bool) else value or 'not given'}"
