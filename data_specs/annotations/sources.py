"""Annotation files below a data set's root: found by role, read with care, remembered by SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.annotations.tables import CSV, TSV, TableForm, named_rows, read_rows, wide_rows
from data_specs.errors import InputError, did_you_mean
from data_specs.manifest import Item
from data_specs.spec import DatasetSpec, ProtocolSpec, SplitName, SplitSpec

MAX_FILE_BYTES = 4 << 30
MAX_LINE_BYTES = 256 << 20

OFFICIAL, AUTHORS = "official", "authors'"  # forms in which files are published; see Annotations


@dataclass(frozen=True)
class Annotations:
    """What a parser gives.

    items:    rows of the manifest; those of a large data set are read as they are asked for, and only once.
    sources:  place of each file that was read, below the root, to its SHA-256; complete when the items are.
    absent:   roles of optional files that are not there.
    left_out: role to the number of its questions whose video is in no row of the file's split.
    forms:    for data sets published in two forms: role to the form of the file that was found, ``OFFICIAL`` (of the
              data set's owners) or ``AUTHORS`` (of the release); the first is taken where both are there.
    remarks:  what else a user should know of what was found and left out, a line each.
    """

    items: Iterable[Item]
    sources: dict[str, str]
    absent: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


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
        """The first place at which a file of this role stands, None if at none.

        Raises:
            InputError: the spec declares no file of this role, which its format needs.
        """
        if role not in self.spec.files:
            raise InputError(
                f"{self.spec.name}: format {self.spec.format} needs a file {role!r}, and the spec's files do not"
                f" declare it: {did_you_mean(role, self.spec.files)}"
            )
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

    def splits(self, protocol: ProtocolSpec) -> tuple[dict[SplitName, SplitSpec], tuple[str, ...]]:
        """The protocol's splits without the optional ones whose files are not all there, and the roles of the latter.

        Raises:
            InputError: no split is left.
        """
        kept: dict[SplitName, SplitSpec] = {}
        absent: list[str] = []
        for name, split in protocol.splits.items():
            missing = [role for role in split.files if self.find(role) is None] if split.optional else []
            absent += missing
            if not missing:
                kept[name] = split
        if not kept:
            self.refuse(absent)
        return kept, tuple(dict.fromkeys(absent))

    def files_of(self, splits: Mapping[SplitName, SplitSpec]) -> Iterator[tuple[SplitName, str, Path]]:
        """Split, role and path of each file that says which videos the splits hold.

        Raises:
            InputError: one is absent.
        """
        for name, split in splits.items():
            for role in split.files:
                yield name, role, self.require(role)

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

    def stream(self, path: Path) -> Iterator[str]:
        """A file's lines with their ends, one in memory at a time; its hash is remembered after the last.

        Only line feeds end a line. UTF-8, with or without a byte order mark.

        Raises:
            InputError: unreadable, not UTF-8, or a line is too long; names the row.
        """
        digest, row = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while line := file.readline(MAX_LINE_BYTES + 1):
                    row += 1
                    if len(line) > MAX_LINE_BYTES:
                        raise InputError(f"{path}: row {row}: longer than {MAX_LINE_BYTES} bytes")
                    digest.update(line)
                    yield line.decode("utf-8-sig" if row == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: row {row}: not UTF-8 text: {error.reason}") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        self.read[path.relative_to(self.root).as_posix()] = digest.hexdigest()

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Row number (from 1) and text of each line that is not blank; CRLF and a missing last line feed are fine."""
        for row, line in enumerate(self.stream(path), start=1):
            stripped = line.removesuffix("\n").removesuffix("\r")
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

    def csv_rows(
        self, path: Path, columns: tuple[str, ...], form: TableForm = CSV
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number and named values of a table with a header; ``columns`` must be in it, in any order.

        Raises:
            InputError: a column is missing or a row has too few or too many values.
        """
        return named_rows(path, read_rows(path, self.stream(path), form), columns)

    def tsv_rows(self, path: Path, columns: int, form: TableForm = TSV) -> Iterator[tuple[int, list[str]]]:
        """Row number and values of a table without a header, each row of so many values.

        Raises:
            InputError: a row has too few or too many values.
        """
        return wide_rows(path, read_rows(path, self.stream(path), form), columns)


def text_field(path: Path, row: int, fields: Any, name: str) -> str:
    """A text of a JSON object that must be there and not be blank.

    Raises:
        InputError: it is not; names file, row and field.
    """
    value = fields.get(name) if isinstance(fields, dict) else None
    if not _is_text(value) or not value.strip():
        raise InputError(f"{path}: row {row}: {name}: expected a text, found {_shown(value)}")
    return value


def plain_id(path: Path, row: int, text: str, kind: str = "video") -> str:
    """An id that names a file: no slash and no space in it, and not ``nan``, which pandas writes for a missing value.

    Raises:
        InputError: it is no such id, or is empty; names file and row.
    """
    words = text.split()
    if words != [text] or "/" in text or "\0" in text or text.lower() in {".", "..", "nan"}:
        raise InputError(f"{path}: row {row}: {text[:60]!r} is not a {kind} id")
    return text


def text_list(path: Path, row: int, fields: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts of a JSON object; see ``text_field``."""
    value = fields.get(name)
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise InputError(f"{path}: row {row}: {name}: expected a list of texts, found {_shown(value)}")
    return tuple(value)


def find_media(spec: DatasetSpec, root: Path) -> tuple[str, bool]:
    """The template of the spec's media paths at which a file stands below ``root``; the first, with False, if none."""
    for template in spec.media_paths:
        if next(root.glob(re.sub(r"\{\w+\}", "*", template)), None) is not None:
            return template, True
    return spec.media_paths[0], False


def media_path(spec: DatasetSpec, root: Path) -> str:
    """The template of the spec's media paths at which files stand below ``root``; the first if at none."""
    return find_media(spec, root)[0]


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
