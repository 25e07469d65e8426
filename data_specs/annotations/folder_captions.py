"""What is said about the media of a folder: one table of captions for all, or sidecars beside them."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from data_specs.annotations.folder_tree import Tree, media_kind, shown
from data_specs.annotations.sources import Sources, text_field, text_list
from data_specs.annotations.subtitles import Cue, parse_cues, text_of
from data_specs.errors import InputError

CLIP_MARK = "#t="
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass
class Described:
    """What a table says of one file or clip. row: where it is named first."""

    row: int
    captions: list[str] = field(default_factory=list)
    split: str | None = None


@dataclass(frozen=True)
class CaptionTable:
    """A table's rows by the path of a file or the id of a clip. absent: paths of files that are not there, in order."""

    file: Path
    rows: dict[str, Described]
    absent: tuple[str, ...]


def read_table(sources: Sources, file: Path, tree: Tree) -> CaptionTable:
    """Reads ``captions.csv`` or ``captions.jsonl``. A file may have several rows: its captions, in their order.

    A row names its file by ``path`` (below the root) or by ``id``: the path, or as much of it as only one file has,
    without folder or extension. A row without a caption gives a split alone. A path of a media file that is not there
    is kept, so that it is found missing.

    Raises:
        InputError: wrong columns, a row that names no media file or several, an unknown split or two of them, or no
            row that names a file that is there.
    """
    named = _Names(file, tree, sources.root)
    rows: dict[str, Described] = {}
    absent: dict[str, None] = {}
    for row, column, name, captions, split in _table_rows(sources, file):
        key = named.find(row, column, name)
        if key.rpartition(CLIP_MARK)[0] not in tree.media and key not in tree.media:
            absent.setdefault(key)
        entry = rows.setdefault(key, Described(row))
        entry.captions += captions
        if split is not None:
            if entry.split not in (None, split):
                raise InputError(
                    f"{file}: row {row}: split: {split}, but an earlier row says {entry.split} of {name!r}"
                )
            entry.split = split
    if not rows:
        raise InputError(f"{file}: row 1: no row follows the columns' names; without captions, take the file away")
    if len(absent) == len(rows):
        first = next(iter(rows.items()))
        raise InputError(
            f"{file}: row {first[1].row}: {first[0]!r} and all other files that it names are not below {sources.root};"
            " paths must start from there"
        )
    return CaptionTable(file, rows, tuple(absent))


class Sidecars:
    """Captions from the files beside the media. owned: those of some media file. used: those that have been read."""

    def __init__(self, sources: Sources, tree: Tree) -> None:
        self._sources = sources
        self._tree = tree
        self._hash = hashlib.sha256()
        self._last: tuple[str, tuple[str, ...] | list[Cue]] = ("", ())
        self.used: set[str] = set()
        self.owned = {path for media in tree.media if (path := tree.sidecar(media)) is not None}

    def captions(self, media: str, clip: tuple[float, float] | None) -> tuple[str, ...]:
        """The captions of a media file, or of its ``clip`` (start and end in seconds).

        Raises:
            InputError: the sidecar is malformed.
        """
        place = self._tree.sidecar(media)
        if place is None:
            return ()
        if self._last[0] != place:  # the clips of one video come one after the other
            self._last = (place, self._parsed(place))
        said = self._last[1]
        if isinstance(said, tuple):
            return said
        text = text_of(said, *(clip or ()))
        return (text,) if text else ()

    def unused(self) -> list[str]:
        """Files that look like sidecars and belong to no media file."""
        there = {path for found in self._tree.sidecars.values() for path in found.values()}
        return sorted(there - self.owned)

    def digest(self) -> str:
        """SHA-256 over the places and hashes of all sidecars that were read, in the media's order."""
        return self._hash.hexdigest()

    def _parsed(self, place: str) -> tuple[str, ...] | list[Cue]:
        path = self._sources.root / place
        extension = path.suffix.lower()
        if extension == ".json":
            return _json_captions(path, self._read(place, self._sources.json(path)))
        text = self._read(place, self._sources.text(path))
        if extension == ".txt":
            return tuple(line for line in text.replace("\r\n", "\n").split("\n") if line.strip())
        try:
            return parse_cues(text)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None

    def _read(self, place: str, content: Any) -> Any:
        """Moves a file's hash into the one of all sidecars: a hundred thousand would swell the manifest's metadata."""
        digest = self._sources.read.pop(place)
        if place not in self.used:
            self._hash.update(f"{place}\0{digest}\0".encode())
            self.used.add(place)
        return content


class _Names:
    """Finds the file that a table means."""

    def __init__(self, file: Path, tree: Tree, root: Path) -> None:
        self._file = file
        self._media = tree.media
        self._root = root
        self._by_form: dict[str, str] = {}
        self._by_part: dict[str, list[str]] | None = None
        for path in tree.media:
            self._by_form.setdefault(_form(path), path)

    def find(self, row: int, column: str, name: str) -> str:
        """The media path, or a clip of one, that a table's row means by ``name``; one of a file that is gone is kept.

        An id may leave out the folders or the extension where only one file can be meant.

        Raises:
            InputError: several files could be meant, or it is no media path below the root; names row and column.
        """
        path = name.removeprefix("./")
        base, _, _ = path.rpartition(CLIP_MARK)
        if path in self._media or base in self._media:
            return path
        found = self._by_form.get(_form(path))
        if found is not None:
            return found
        if column == "id":
            candidates = self._parts().get(_form(path), [])
            if len(candidates) == 1:
                return candidates[0]
            if candidates:
                raise self._wrong(row, column, name, f"could be any of {shown(candidates)}; write the whole path")
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or "\0" in path:
            raise self._wrong(row, column, name, f"is not a path below {self._root}")
        if media_kind(path) is None:
            raise self._wrong(row, column, name, f"is no video or image below {self._root}")
        if os.path.lexists(self._root / path):
            raise self._wrong(row, column, name, "is hidden, no regular file, or a link that leads away")
        return path

    def _parts(self) -> dict[str, list[str]]:
        if self._by_part is None:
            self._by_part = {}
            for path in self._media:
                name = os.path.basename(path)
                for part in {os.path.splitext(path)[0], name, os.path.splitext(name)[0]}:
                    self._by_part.setdefault(_form(part), []).append(path)
        return self._by_part

    def _wrong(self, row: int, column: str, name: str, what: str) -> InputError:
        return InputError(f"{self._file}: row {row}: column {column}: {name[:200]!r} {what}")


def _form(name: str) -> str:
    """One spelling for names that differ in how accents are composed; file systems and editors do not agree."""
    return unicodedata.normalize("NFC", name)


def _table_rows(sources: Sources, file: Path) -> Iterator[tuple[int, str, str, list[str], str | None]]:
    """Row number, naming column, name, captions and split of each row."""
    is_csv = file.suffix.lower() == ".csv"
    rows = sources.csv_rows(file, ("caption",)) if is_csv else sources.json_rows(file)
    for row, fields in rows:
        column = next((column for column in ("path", "id") if column in fields), None)
        if column is None:
            raise InputError(f"{file}: row {row}: no column 'path' or 'id', found: {', '.join(fields)[:200]}")
        name = text_field(file, row, fields, column)
        if is_csv:
            captions = [fields["caption"]]
        elif "captions" in fields:
            captions = list(text_list(file, row, fields, "captions"))
        elif "caption" in fields:
            captions = [text_field(file, row, fields, "caption")]
        else:
            raise InputError(f"{file}: row {row}: no key 'caption' or 'captions', found: {', '.join(fields)[:200]}")
        split = fields.get("split") or None
        if split is not None and (not isinstance(split, str) or split not in SPLIT_NAMES):
            raise InputError(f"{file}: row {row}: column split: {split!r}, allowed: {', '.join(SPLIT_NAMES)}")
        yield row, column, name, [text for text in captions if text.strip()], split and SPLIT_NAMES[split]


def _json_captions(path: Path, tree: Any) -> tuple[str, ...]:
    fields = {"captions": tree} if isinstance(tree, list) else tree
    if isinstance(fields, dict) and "captions" in fields:
        return tuple(text for text in text_list(path, 1, fields, "captions") if text.strip())
    if isinstance(fields, dict) and "caption" in fields:
        return (text_field(path, 1, fields, "caption"),)
    raise InputError(f'{path}: row 1: expected {{"captions": [...]}}, {{"caption": "..."}} or a list of texts')
