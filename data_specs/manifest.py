"""The manifest: one row a media item, whatever the data set (Parquet)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_specs import atomic
from data_specs.errors import InputError, did_you_mean
from data_specs.manifest_rows import check_rows, plain_texts

MANIFEST_VERSION = 1
SPLITS = ("train", "val", "test")
MEDIA = ("video", "image")
_METADATA_KEY = b"regionvlp.manifest"
_BATCH = 4096
_GROUP_ROWS = 16384
_GROUP_LETTERS = 64 << 20  # of captions: Arrow and Parquet want each column of a row group below 2 GiB

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
    """A question about a clip. ``label`` indexes the ``options`` of a multiple choice.

    An open-ended question has no options; its label is the answer's in the manifest's vocabulary (-1: not in it, or
    the protocol has none).
    """

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
    """What the file says of itself: which data set, by which protocol, from which annotation files (name: SHA-256).

    rules:   how the protocol is scored, as the spec says it: task, queries, candidates, ties and the like.
    answers: the answer vocabulary; the label of an answer is its place here.
    """

    dataset: str
    protocol: str = ""
    spec_version: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()


class Manifest:
    """Rows in Arrow memory (2.5 million take about a gigabyte), given out as ``Item`` one at a time."""

    def __init__(self, table: pa.Table, info: ManifestInfo) -> None:
        self.table = table
        self.info = info
        self._batches = table.to_batches(max_chunksize=_BATCH)
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches[:-1])])

    def __len__(self) -> int:
        return self.table.num_rows

    def __iter__(self) -> Iterator[Item]:
        for batch in self._batches:
            for row in batch.to_pylist():
                yield _item(row)

    def take(self, rows: Iterable[int]) -> list[Item]:
        """The items at these row numbers, in the given order."""
        wanted = np.fromiter(rows, np.int64)
        homes = np.searchsorted(self._starts, wanted, side="right") - 1
        found: list[Item] = []
        for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(homes)) + 1):
            if len(run):  # rows of one batch: a take across batches would copy every column whole
                home = homes[run[0]]
                batch = self._batches[home].take(pa.array(wanted[run] - self._starts[home]))
                found += [_item(row) for row in batch.to_pylist()]
        return found

    def rows_of(self, split: str | None = None) -> list[int]:
        """Row numbers of one split (all of them when None), in file order.

        Raises:
            InputError: the manifest has no row of this split.
        """
        if split is None:
            return list(range(len(self)))
        rows = np.flatnonzero(pc.equal(plain_texts(self.table["split"]), split).to_numpy()).tolist()
        if not rows:
            raise InputError(
                f"split {split!r} has no rows in this manifest: {did_you_mean(split, self.counts() or SPLITS)}"
            )
        return rows

    def counts(self) -> dict[str, int]:
        """Rows a split."""
        return _counts(self.table)


def write_manifest(path: Path, items: Iterable[Item], info: ManifestInfo) -> Manifest:
    """Checks the items, writes them to ``path`` atomically and returns them as a manifest.

    Raises:
        InputError: an id is empty or repeated, a path leaves the media root, or a split or media kind is unknown.
    """
    table = _table(items, str(path))
    check_rows(table, str(path), {"split": SPLITS, "media": MEDIA})
    described = {
        "version": MANIFEST_VERSION,
        "dataset": info.dataset,
        "protocol": info.protocol,
        "spec_version": info.spec_version,
        "sources": dict(sorted(info.sources.items())),
        "rules": dict(info.rules),
        "answers": list(info.answers),
        "counts": dict(sorted(_counts(table).items())),
    }
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(described, sort_keys=True).encode()})
    with (
        atomic.replacing(path) as temporary,
        pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer,
    ):
        for batch in table.to_batches():
            writer.write_batch(batch)
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
    check_rows(table, str(path), {"split": SPLITS, "media": MEDIA})
    info = ManifestInfo(
        described["dataset"],
        described["protocol"],
        described["spec_version"],
        dict(described["sources"]),
        dict(described["rules"]),
        tuple(map(str, described["answers"])),
    )
    return Manifest(table, info)


def _described(table: pa.Table, path: Path) -> dict[str, Any]:
    """What the file's metadata say; of another version or none, it is refused."""
    try:
        described = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
        version = described.get("version")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        described, version = {}, "unreadable"
    kinds = {"dataset": str, "protocol": str, "spec_version": int, "sources": dict, "rules": dict, "answers": list}
    described = {"rules": {}, "answers": []} | described if isinstance(described, dict) else {}
    whole = all(isinstance(described.get(name), kind) for name, kind in kinds.items())
    if version != MANIFEST_VERSION or not whole:
        raise InputError(
            f"{path}: not a manifest of version {MANIFEST_VERSION} (its version: {version!r});"
            " build it again with: python -m data_specs build"
        )
    return described


def _counts(table: pa.Table) -> dict[str, int]:
    """Rows a split, in the order in which the splits come."""
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(plain_texts(table["split"])).to_pylist()}


def _table(items: Iterable[Item], source: str) -> pa.Table:
    """Items as Arrow memory, a row group at a time.

    Raises:
        InputError: a text that UTF-8 cannot hold (half of a surrogate pair, as in a file name that is not UTF-8).
    """
    batches: list[pa.RecordBatch] = []
    for rows in _groups(items):
        try:
            batches.append(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
        except UnicodeEncodeError as error:
            row = sum(batch.num_rows for batch in batches) + _first_unwritable(rows)
            raise InputError(f"{source}: row {row}: a text is not valid Unicode: {error.object!r:.200}") from None
    return pa.Table.from_batches(batches, SCHEMA).unify_dictionaries()


def _groups(items: Iterable[Item]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    letters = 0
    for item in items:
        rows.append(_row(item))
        letters += sum(len(caption or "") for caption in item.captions)
        if len(rows) == _GROUP_ROWS or letters >= _GROUP_LETTERS:
            yield rows
            rows, letters = [], 0
    if rows:
        yield rows


def _first_unwritable(rows: list[dict[str, Any]]) -> int:
    for number, row in enumerate(rows):
        try:
            pa.RecordBatch.from_pylist([row], schema=SCHEMA)
        except UnicodeEncodeError:
            return number
    return 0


def _row(item: Item) -> dict[str, Any]:
    row = {name: getattr(item, name) for name in SCHEMA.names}
    row["captions"] = list(item.captions)
    row["questions"] = [
        {f: getattr(q, f) for f in _QUESTION_FIELDS} | {"options": list(q.options)} for q in item.questions
    ]
    return row


_QUESTION_FIELDS = tuple(_QUESTION.field(i).name for i in range(_QUESTION.num_fields))


def _question(fields: Mapping[str, Any]) -> Question:
    """A question from its stored form (a Parquet struct)."""
    return Question(**{**fields, "options": tuple(fields["options"] or ())})


def _item(row: Mapping[str, Any]) -> Item:
    questions = tuple(_question(fields) for fields in row["questions"] or ())
    return Item(**{**row, "captions": tuple(row["captions"] or ()), "questions": questions})
