"""What stands beside the shards of a folder: the index, made from the commit records, and the class names."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import Field, ValidationError

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError
from data_specs.location import Location
from data_specs.outstanding import outstanding_failures
from data_specs.series import in_series_order, parse_shard_name
from data_specs.shards import (
    FORMAT_VERSION,
    INDEX_NAME,
    LABELS_NAME,
    CommitRecord,
    Provenance,
    ShardError,
    iterate_keys,
    provenance_difference,
    read_record,
    record_path,
)


class ShardEntry(Settings):
    """One shard as the index lists it; ``url`` and ``nsamples`` are the names ``wids`` reads."""

    url: str
    nsamples: int
    sha256: str
    bytes: int
    regions: int
    failures: int


class ShardIndex(Settings):
    """Totals and shards of a folder; the file is also a ``wids-shard-index-v1`` list.

    num_failures: items without a sample; what a retry made good is none of them.
    """

    wids_version: int = Field(default=1)
    format_version: int = FORMAT_VERSION
    kind: str = Field(default="wids-shard-index-v1", serialization_alias="__kind__", validation_alias="__kind__")
    name: str
    num_samples: int
    num_regions: int
    num_failures: int
    provenance: Provenance
    shardlist: tuple[ShardEntry, ...]


def build_index(folder: Location, committed_records: Iterable[CommitRecord]) -> ShardIndex:
    """Writes ``index.json`` from commit records, which are taken one at a time and not kept.

    Raises:
        ShardError: there is none, a tar is absent, or the shards do not share one provenance.
    """
    entries: list[ShardEntry] = []
    first: CommitRecord | None = None
    for record in committed_records:
        first = first or record
        _refuse_stray(folder, first, record)
        entries.append(_entry(record))
    if first is None:
        raise ShardError(f"{folder}: holds no committed shard")
    entries.sort(key=lambda entry: entry.url)
    index = ShardIndex(
        name=first.provenance.dataset,
        num_samples=sum(entry.nsamples for entry in entries),
        num_regions=sum(entry.regions for entry in entries),
        num_failures=_standing_failures(folder, entries),
        provenance=first.provenance,
        shardlist=tuple(entries),
    )
    text = json.dumps(index.model_dump(mode="json", by_alias=True), indent=1)
    atomic.write_text(folder / INDEX_NAME, text + "\n")
    return index


def _refuse_stray(folder: Location, first: CommitRecord, record: CommitRecord) -> None:
    if not (folder / record.shard).is_file():
        raise ShardError(
            f"{folder / record.shard}: is absent, its commit record is there; remove that or put the tar back"
        )
    if record.provenance != first.provenance:
        raise ShardError(
            f"{folder}: {first.shard} and {record.shard} were made differently:"
            f" {provenance_difference(first.provenance, record.provenance)}"
        )


def _standing_failures(folder: Location, entries: list[ShardEntry]) -> int:
    """How many items have no sample, once what a retry made good is taken off."""
    names = [entry.url.removesuffix(".tar") for entry in entries]
    if not any(name.round for name in map(parse_shard_name, names) if name is not None):
        return sum(entry.failures for entry in entries)
    in_order = (read_record(record_path(folder, name)) for name in in_series_order(names))
    return len(outstanding_failures(in_order, lambda record: iterate_keys(folder / record.shard)))


def _entry(record: CommitRecord) -> ShardEntry:
    return ShardEntry(
        url=record.shard,
        nsamples=record.num_samples,
        sha256=record.sha256,
        bytes=record.bytes,
        regions=record.num_regions,
        failures=len(record.failures),
    )


def read_index(folder: Location) -> ShardIndex:
    """Reads the index of a folder of shards.

    Raises:
        InputError: it is absent or broken; the message says how to make it.
    """
    path = folder / INDEX_NAME
    try:
        return ShardIndex.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path}: no index; finish the extraction with: python -m extract run --out {folder}"
        ) from None
    except ValidationError as error:
        raise InputError(
            f"{path}: not a shard index: {error.errors()[0]['msg']}; run extract again to remake it"
        ) from None


def write_labels(folder: Location, names: tuple[str, ...]) -> None:
    """Writes the detector's class names, in the order of ``Regions.labels``, beside the shards."""
    atomic.write_text(folder / LABELS_NAME, json.dumps(list(names), ensure_ascii=False) + "\n")


def read_labels(folder: Location) -> tuple[str, ...]:
    """The detector's class names; empty when the folder has none."""
    path = folder / LABELS_NAME
    if not path.is_file():
        return ()
    try:
        names = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: not a list of class names")
    return tuple(names)
