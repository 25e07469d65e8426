"""Answer vocabularies as files: the answers of open-ended questions, in the order of their labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from data_specs.errors import InputError
from data_specs.manifest import read_manifest

_MOST_BYTES = 64 << 20  # a million answers and more


def read_answers(path: Path) -> tuple[str, ...]:
    """The vocabulary in a manifest (``.parquet``: its ``info.answers``), in a ``.json`` object of answer to label, or
    in a text file with one answer a line.

    Raises:
        InputError: the file cannot be read or holds no answers, or an answer or label is there twice, a label is left
            out, or a line is blank.
    """
    if path.suffix == ".parquet":
        answers = read_manifest(path).info.answers
        if not answers:
            raise InputError(
                f"{path}: this manifest's protocol has no answer vocabulary; build it with a protocol that has answers,"
                " or give a text file with one answer a line"
            )
        return answers
    text = _text(path)
    if path.suffix == ".json":
        try:
            return answers_by_label(path, json.loads(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{path}: not JSON: {error}") from None
    lines = ((row, line.removesuffix("\r")) for row, line in enumerate(text.split("\n"), start=1))
    return answers_by_line(path, ((row, line) for row, line in lines if line.strip()))


def answers_by_label(path: Path, tree: object) -> tuple[str, ...]:
    """The answers of an object of answer to label, by label; ``path`` is where it comes from, for messages.

    Raises:
        InputError: it is none, a label is there twice, or one is left out.
    """
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"{path}: expected an object of answer to label, found {type(tree).__name__}")
    answers: dict[int, str] = {}
    for answer, label in tree.items():
        if type(label) is not int or not 0 <= label < len(tree):
            raise InputError(f"{path}: {answer!r}: label {label!r} is not one of 0 to {len(tree) - 1}")
        if label in answers:
            raise InputError(f"{path}: {answer!r}: label {label} is that of {answers[label]!r} too")
        answers[label] = answer
    return tuple(answers[label] for label in range(len(answers)))


def answers_by_line(path: Path, lines: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """The answers of lines, each with its row from 1 on; those that are blank are left out of ``lines``.

    Raises:
        InputError: there is none, one is there twice, or one of the rows between is blank: labels count the lines.
    """
    rows: dict[str, int] = {}
    for row, answer in lines:
        if answer in rows:
            raise InputError(f"{path}: row {row}: answer {answer!r} already stands in row {rows[answer]}")
        rows[answer] = row
        if row != len(rows):
            raise InputError(f"{path}: row {len(rows)}: is blank, and labels count the lines; remove it")
    if not rows:
        raise InputError(f"{path}: holds no answer")
    return tuple(rows)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: more than {_MOST_BYTES} bytes, too large for a list of answers")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; give a manifest with an answer vocabulary, a .json object of answer to label, or a"
            " text file with one answer a line"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
