"""Ids of annotation rows: there, and each there once."""

from __future__ import annotations

from pathlib import Path

from data_specs.errors import InputError


class Identifiers:
    """The ids met so far, each with the file and row that gave it."""

    def __init__(self) -> None:
        self._rows: dict[Path, dict[str, int]] = {}

    def add(self, path: Path, row: int, column: str, identifier: str) -> str:
        """Takes an id of a row that must be its first.

        Raises:
            InputError: no id, or one that another row has; names file, row and column.
        """
        identifier_of(path, row, column, identifier)
        for other, rows in self._rows.items():
            if identifier in rows:
                where = f"row {rows[identifier]}" + (f" of {other}" if other != path else "")
                raise InputError(f"{path}: row {row}: {column}: {identifier!r:.80} already stands in {where}")
        self._rows.setdefault(path, {})[identifier] = row
        return identifier


def identifier_of(path: Path, row: int, column: str, value: str) -> str:
    """An id as the file has it; blank is none, and so is ``nan``, which pandas writes for a value it has not.

    Raises:
        InputError: no id; names file, row and column.
    """
    if not value.strip() or value.strip().lower() == "nan":
        raise InputError(f"{path}: row {row}: {column}: expected an id, found {value!r:.80}")
    return value


def caption_of(path: Path, row: int, column: str, value: str) -> str:
    """A caption as the file has it.

    Raises:
        InputError: it is blank; names file, row and column.
    """
    if not value.strip():
        raise InputError(f"{path}: row {row}: {column}: expected a caption, found {value!r:.80}; remove the row")
    return value
