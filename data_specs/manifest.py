"""The manifest: one row a media item, whatever the data set (Parquet)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs import atomic
from data_specs.errors import InputError, did_you_mean

MANIFEST_VERSION = 1
SPLITS = ("train", "val", "test")
MEDIA = ("video", "image")
_METADATA_KEY = b"regionvlp.manifest"

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
_QUESTION = pa.struct(
    [
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        ("options", pa.list_(pa.string())),
        ("label", pa.int32()),
        ("key", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("media", _DICTIONARY),
        ("split", _DICTIONARY),
        ("captions", pa.list_(pa.string())),
        ("clip_start", pa.float64()),
        ("clip_end", pa.float64()),
        ("questions", pa.list_(_QUESTION)),
    ]
)


@dataclass(frozen=True)
class Question:
    """A question about a clip; ``options`` is empty for open-ended ones, else ``label`` indexes it (-1: no label)."""

    question: str
    answer: str
    answer_type: str = ""
    options: tuple[str, ...] = ()
    label: int = -1
    key: str = ""


@dataclass(frozen=True)
class Item:
    """One row: a video or image and what is said about it. ``clip_start`` and ``clip_end`` are seconds."""

    id: str
    path: str
    split: str
    media: str = "video"
    captions: tuple[str, ...] = ()
    clip_start: float | None = None
    clip_end: float | None = None
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class ManifestInfo:
    """What the file says of itself: which data set, by which protocol, from which annotation files (name: SHA-256)."""

    dataset: str
    protocol: str = ""
    spec_version: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)


class Manifest:
    """Rows in Arrow memory (2.5 million take about a gigabyte), given out as ``Item`` one at a time."""

    def __init__(self, table: pa.Table, info: ManifestInfo) -> None:
        self.table = table
        self.info = info

    def __len__(self) -> int:
        return self.table.num_rows

    def __iter__(self) -> Iterator[Item]:
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield _item(row)

    def take(self, rows: Iterable[int]) -> list[Item]:
        """The items at these row numbers, in the given order."""
        return [_item(row) for row in self.table.take(pa.array(list(rows), pa.int64())).to_pylist()]

    def rows_of(self, split: str | None = None) -> list[int]:
        """Row numbers of one split (all of them when None), in file order.

        Raises:
            InputError: the manifest has no row of this split.
        """
        if split is None:
            return list(range(len(self)))
        rows = [row for row, name in enumerate(self.table["split"].to_pylist()) if name == split]
        if not rows:
            raise InputError(
                f"split {split!r} has no rows in this manifest: {did_you_mean(split, self.counts() or SPLITS)}"
            )
        return rows

    def counts(self) -> dict[str, int]:
        """Rows a split."""
        return dict(Counter(self.table["split"].to_pylist()))


def write_manifest(path: Path, items: Iterable[Item], info: ManifestInfo) -> Manifest:
    """Checks the items, writes them to ``path`` atomically and returns them as a manifest.

    Raises:
        InputError: an id is empty or repeated, a path leaves the media root, or a split or media kind is unknown.
    """
    rows = [_row(item) for item in items]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    _check(table, str(path))
    described = {
        "version": MANIFEST_VERSION,
        "dataset": info.dataset,
        "protocol": info.protocol,
        "spec_version": info.spec_version,
        "sources": dict(sorted(info.sources.items())),
        "counts": dict(sorted(Counter(table["split"].to_pylist()).items())),
    }
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(described, sort_keys=True).encode()})
    with atomic.replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return Manifest(table, info)


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest.

    Raises:
        InputError: not a manifest, another version, or a row that breaks the contract (which one is said).
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such manifest; make it with: python -m data_specs build NAME --root DIR --out {path}"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from None
    described = _described(table, path)
    if not table.schema.remove_metadata().equals(SCHEMA):
        missing = sorted(set(SCHEMA.names) - set(table.schema.names))
        wrong = [n for n in SCHEMA.names if n in table.schema.names and table.schema.field(n) != SCHEMA.field(n)]
        raise InputError(f"{path}: not the manifest's columns (missing: {missing}, of another type: {wrong})")
    _check(table, str(path))
    info = ManifestInfo(
        described["dataset"], described["protocol"], described["spec_version"], dict(described["sources"])
    )
    return Manifest(table, info)


def _described(table: pa.Table, path: Path) -> dict[str, Any]:
    """What the file's metadata say; of another version or none, it is refused."""
    try:
        described = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
        version = described.get("version")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        described, version = {}, "unreadable"
    whole = {"dataset", "protocol", "spec_version", "sources"} <= set(described)
    if version != MANIFEST_VERSION or not whole or not isinstance(described["sources"], dict):
        raise InputError(
            f"{path}: not a manifest of version {MANIFEST_VERSION} (its version: {version!r});"
            " build it again with: python -m data_specs build"
        )
    return described


def _check(table: pa.Table, source: str) -> None:
    ids = table["id"].to_pylist()
    seen: dict[str, int] = {}
    for row, identifier in enumerate(ids):
        if not identifier:
            raise InputError(f"{source}: row {row}: column id is empty")
        if identifier in seen:
            raise InputError(f"{source}: row {row}: column id: {identifier!r} already stands in row {seen[identifier]}")
        seen[identifier] = row
    for column, allowed in (("split", SPLITS), ("media", MEDIA)):
        for row, value in enumerate(table[column].to_pylist()):
            if value not in allowed:
                raise InputError(f"{source}: row {row}: column {column}: {value!r}, allowed: {', '.join(allowed)}")
    for row, value in enumerate(table["path"].to_pylist()):
        if not value or value.startswith("/") or "\0" in value or ".." in PurePosixPath(value).parts:
            raise InputError(f"{source}: row {row}: column path: {value!r} is not a path below the media root")
    starts, ends = table["clip_start"].to_pylist(), table["clip_end"].to_pylist()
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start is None and end is None:
            continue
        start, end = (0.0 if start is None else start), (math.inf if end is None else end)
        if math.isnan(start) or math.isnan(end) or start < 0 or end <= start:
            raise InputError(f"{source}: row {row}: clip_start {start} and clip_end {end} do not make a clip")


def _row(item: Item) -> dict[str, Any]:
    row = {name: getattr(item, name) for name in SCHEMA.names}
    row["captions"] = list(item.captions)
    row["questions"] = [
        {f: getattr(q, f) for f in _QUESTION_FIELDS} | {"options": list(q.options)} for q in item.questions
    ]
    return row


_QUESTION_FIELDS = tuple(_QUESTION.field(i).name for i in range(_QUESTION.num_fields))


def question_from_dict(fields: Mapping[str, Any]) -> Question:
    """A question from its stored form (a Parquet struct or a JSON object)."""
    return Question(**{**fields, "options": tuple(fields["options"] or ())})


def _item(row: Mapping[str, Any]) -> Item:
    questions = tuple(question_from_dict(fields) for fields in row["questions"] or ())
    return Item(**{**row, "captions": tuple(row["captions"] or ()), "questions": questions})
