"""Variables in texts and trees: ``{name}`` stands for a value, ``when: name`` for whether something is there at all."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from data_specs.errors import InputError

WHEN = "when"


def has_value(value: Any) -> bool:
    """Whether a variable says anything: not nothing, empty text or false."""
    return value not in (None, "", False)


def fill(text: str, values: Mapping[str, Any]) -> str:
    """``text`` with each ``{name}`` replaced by that variable's value.

    Raises:
        InputError: a name that is no variable, or stray braces.
    """
    try:
        return text.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{text!r}: {error} is no variable of this pipeline; double a brace that is meant") from None


def fill_argument(argument: str, values: Mapping[str, Any]) -> list[str]:
    """The arguments that one stands for: several where it is a variable that holds a list."""
    whole = _only_variable(argument)
    if whole is not None and isinstance(values.get(whole), list):
        return [str(item) for item in values[whole]]
    return [fill(argument, values)]


def fill_tree(node: Any, values: Mapping[str, Any]) -> Any:
    """A tree with its texts filled in; a text that is one variable becomes its value, whatever its type.

    A mapping with the key ``when``, which names a variable, is left out where that variable has no value; the key
    itself is left out always.

    Raises:
        InputError: a name that is no variable, or stray braces.
    """
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key != WHEN and _is_there(value, values)}
        return {key: fill_tree(value, values) for key, value in kept.items()}
    if isinstance(node, list):
        return [fill_tree(item, values) for item in node]
    if isinstance(node, str):
        whole = _only_variable(node)
        return values[whole] if whole is not None and whole in values else fill(node, values)
    return node


def resolve(values: Mapping[str, Any], given: frozenset[str]) -> dict[str, Any]:
    """Defaults may use other variables: ``out: shards/{dataset}``. What was ``given`` stays as it is.

    Raises:
        InputError: a default names no variable, or itself in the end.
    """
    done = {key: value for key, value in values.items() if key in given}
    todo = dict.fromkeys(key for key in values if key not in given)
    while todo:
        ready = [key for key in todo if not _names(values[key]) & todo.keys()]
        if not ready:
            raise InputError(f"these variables stand for one another: {', '.join(todo)}")
        for key in ready:
            done[key] = fill_tree(values[key], done)
            del todo[key]
    return {key: done[key] for key in values}


def _is_there(node: Any, values: Mapping[str, Any]) -> bool:
    if not isinstance(node, dict) or WHEN not in node:
        return True
    if node[WHEN] not in values:
        raise InputError(f"when: {node[WHEN]!r} is no variable of this pipeline")
    return has_value(values[node[WHEN]])


def _names(node: Any) -> set[str]:
    """The variables that a default uses."""
    if isinstance(node, list):
        return {name for item in node for name in _names(item)}
    if not isinstance(node, str):
        return set()
    try:
        return {name for _, name, _, _ in string.Formatter().parse(node) if name}
    except ValueError:
        return set()  # ``fill`` says what is wrong with it


def _only_variable(text: str) -> str | None:
    """The variable that makes up the whole text, if it is one."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return None
    return parts[0][1] if len(parts) == 1 and parts[0][0] == "" and parts[0][1] else None
