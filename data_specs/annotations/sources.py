"""Annotation files below a data set's root: found by role, read with care, remembered by SHA-256."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.errors import InputError
from data_specs.manifest import Item
from data_specs.spec import DatasetSpec

MAX_FILE_BYTES = 4 << 30


@dataclass(frozen=True)
class Annotations:
    """What a parser gives.

    items:    rows of the manifest.
    sources:  place of each file that was read, below the root, to its SHA-256.
    absent:   roles of optional files that are not there.
    left_out: role to the number of its questions whose video is in no row of the file's split.
    """

    items: list[Item]
    sources: dict[str, str]
    absent: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


class Sources:
    """Reads the files of one spec below one root. Files are untrusted: text and JSON only, errors name file and row.

    Raises:
        InputError: the root is not a folder.
    """

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; it is where the files of {spec.name} should be")
        self.spec = spec
        self.root = root
        self.read: dict[str, str] = {}

    def find(self, role: str) -> Path | None:
        """The first place at which a file of this role stands, None if at none."""
        places = (self.root / place for place in self.spec.files[role].places)
        return next((path for path in places if path.is_file()), None)

    def require(self, role: str) -> Path:
        """The file of this role.

        Raises:
            InputError: absent; says what it is, where it is expected and where it comes from.
        """
        path = self.find(role)
        return path if path is not None else self.refuse([role])

    def refuse(self, roles: list[str]) -> Path:
        """Raises the error for files of which at least one is needed and none is there."""
        wanted = []
        for role in roles:
            file = self.spec.files[role]
            others = f" (or {', '.join(file.places[1:])})" if file.places[1:] else ""
            wanted.append(f"{self.root / file.places[0]}{others}: {file.what}; from: {file.origin}")
        raise InputError(f"{self.spec.name}: a file is missing: " + "; or ".join(wanted))

    def text(self, path: Path) -> str:
        """A file's text (UTF-8, with or without a byte order mark), its hash remembered.

        Raises:
            InputError: unreadable, too large or not UTF-8.
        """
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes")
            data = path.read_bytes()
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{path}: row {row}: not UTF-8 text: {error.reason}") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        self.read[path.relative_to(self.root).as_posix()] = hashlib.sha256(data).hexdigest()
        return text

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Row number (from 1) and text of each line that is not blank; CRLF and a missing last line feed are fine."""
        for row, line in enumerate(self.text(path).split("\n"), start=1):
            stripped = line.removesuffix("\r")
            if stripped.strip():
                yield row, stripped

    def json(self, path: Path) -> Any:
        """A JSON file's value.

        Raises:
            InputError: not JSON; names the row.
        """
        return _parsed(path, 0, self.text(path))

    def json_rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Row number and object of each line of a JSON-lines file.

        Raises:
            InputError: a line is not a JSON object; names the row.
        """
        for row, line in self.lines(path):
            value = _parsed(path, row, line)
            if not isinstance(value, dict):
                raise InputError(f"{path}: row {row}: expected an object, found {type(value).__name__}")
            yield row, value

    def csv_rows(self, path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number and named values of a CSV file with a header; ``columns`` must be in it, in any order.

        Raises:
            InputError: a column is missing or a row has too few or too many values.
        """
        reader = csv.DictReader(io.StringIO(self.text(path), newline=""), strict=True)
        try:
            header = list(reader.fieldnames or ())
            for name in columns:
                if name not in header:
                    raise InputError(f"{path}: row 1: no column {name!r}, found: {', '.join(header)[:200]}")
            for fields in reader:
                if None in fields or None in fields.values():
                    raise InputError(f"{path}: row {reader.line_num}: not {len(header)} values")
                yield reader.line_num, fields
        except csv.Error as error:
            raise InputError(f"{path}: row {reader.line_num}: not CSV: {error}") from None


def text_field(path: Path, row: int, fields: Any, name: str) -> str:
    """A text of a JSON object that must be there and not be blank.

    Raises:
        InputError: it is not; names file, row and field.
    """
    value = fields.get(name) if isinstance(fields, dict) else None
    if not _is_text(value) or not value.strip():
        raise InputError(f"{path}: row {row}: {name}: expected a text, found {_shown(value)}")
    return value


def text_list(path: Path, row: int, fields: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts of a JSON object; see ``text_field``."""
    value = fields.get(name)
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise InputError(f"{path}: row {row}: {name}: expected a list of texts, found {_shown(value)}")
    return tuple(value)


def media_path(spec: DatasetSpec, root: Path) -> str:
    """The template of the spec's media paths at which files stand below ``root``; the first if at none."""
    for template in spec.media_paths:
        if next(root.glob(template.replace("{id}", "*")), None) is not None:
            return template
    return spec.media_paths[0]


def _is_text(value: object) -> bool:
    """A text that UTF-8 can hold; JSON can spell halves of surrogate pairs, which it cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def _parsed(path: Path, row: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: row {row or error.lineno}: not JSON: {error.msg}, column {error.colno}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: row {row or 1}: not JSON this program reads: {error}") from None
