"""Configuration: frozen pydantic trees read from YAML, overridden with ``--set a.b=c``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data_specs.errors import InputError, did_you_mean


class Settings(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


SettingsT = TypeVar("SettingsT", bound=Settings)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one YAML mapping (safe loader).

    Raises:
        InputError: the file is missing, is not YAML or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {type(tree).__name__}")
    return tree


def override(tree: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Returns a copy of ``tree`` with each ``a.b=c`` applied; ``c`` is read as YAML.

    Raises:
        InputError: an assignment has no ``=``, or goes through a value that is not a mapping.
    """
    result = _copy(tree)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted:
            raise InputError(f"--set {assignment}: write it as key=value, for example --set loss.temperature=0.05")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"--set {assignment}: the value is not valid YAML: {error}") from None
        *parents, leaf = dotted.split(".")
        node = result
        for name in parents:
            child = node.setdefault(name, {})
            if not isinstance(child, dict):
                raise InputError(f"--set {assignment}: {name!r} holds a value, not further keys")
            node = child
        node[leaf] = value
    return result


def build(settings: type[SettingsT], tree: Mapping[str, Any], source: str) -> SettingsT:
    """Validates ``tree`` as ``settings``; ``source`` names it in messages.

    Raises:
        InputError: one line that names every wrong key, the value given and the nearest valid keys.
    """
    try:
        return settings.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join(_explain(settings, item) for item in error.errors())) from None


def load(settings: type[SettingsT], path: Path, assignments: Iterable[str] = ()) -> SettingsT:
    """Reads a YAML file, applies ``--set`` assignments and validates the result."""
    return build(settings, override(read_yaml(path), assignments), str(path))


def dump(settings: Settings) -> str:
    """The resolved configuration as YAML, as it is written into every output folder."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _explain(settings: type[BaseModel], item: Mapping[str, Any]) -> str:
    where = [str(part) for part in item["loc"]]
    name = ".".join(where) or "configuration"
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}: {did_you_mean(where[-1], _fields_at(settings, where[:-1]))}"
    if item["type"] == "missing":
        return f"key {name!r} is missing"
    given = f" (given: {item['input']!r})" if not isinstance(item["input"], (dict, list)) else ""
    return f"{name}: {item['msg']}{given}"


def _fields_at(settings: type[BaseModel], where: list[str]) -> list[str]:
    node: Any = settings
    for name in where:
        field = getattr(node, "model_fields", {}).get(name)
        node = _model_in(field.annotation) if field is not None else node
    return list(getattr(node, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
