"""A round of retries: which items it takes up, and which shards they go into.

Round r makes shards ``{split}-r{r}-{00000}``. It is written into ``retry-{r}.json`` before the first of them is made,
so that a round which was stopped goes on to the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError
from data_specs.failures import Reason
from data_specs.location import Location
from data_specs.manifest import SPLITS, Manifest
from data_specs.manifest_rows import plain_texts
from data_specs.series import ShardName
from data_specs.shards import record_path
from extract.plan import PlannedShards

ROUND_VERSION = 1
_MAX_ROUND_BYTES = 1 << 30


class RetryRound(Settings):
    """What ``retry-{r}.json`` holds.

    reasons: which failures it takes up. assignments: the ``--set`` of the call that planned it. manifest_sha256: of
    the manifest whose rows ``ids`` names, in its order.
    """

    format_version: int = ROUND_VERSION
    round: int = Field(ge=1)
    reasons: tuple[Reason, ...]
    assignments: tuple[str, ...]
    videos_per_shard: int = Field(ge=1)
    manifest_sha256: str
    ids: tuple[str, ...]


class RetryPlan(PlannedShards):
    """The shards of a round.

    Raises:
        InputError: the manifest lacks an id of the round.
    """

    def __init__(self, manifest: Manifest, planned: RetryRound) -> None:
        places = pc.index_in(pa.array(planned.ids, pa.string()), value_set=manifest.table["id"].combine_chunks())
        if places.null_count:
            raise InputError(f"the manifest has no row with id {planned.ids[places.index(None).as_py()]!r}")
        split_of = plain_texts(manifest.table["split"])
        splits = split_of.take(places).to_pylist()
        shards: list[tuple[str, Sequence[int]]] = []
        for split in SPLITS:
            rows = [row for row, found in zip(places.to_pylist(), splits, strict=True) if found == split]
            for number, at in enumerate(range(0, len(rows), planned.videos_per_shard)):
                name = str(ShardName(planned.round, split, number))
                shards.append((name, rows[at : at + planned.videos_per_shard]))
        super().__init__(manifest, shards)


def read_round(folder: Location, number: int) -> RetryRound:
    """Reads ``retry-{number}.json``.

    Raises:
        InputError: absent, too large or not a round of this format.
    """
    path = _path(folder, number)
    try:
        if path.stat().st_size > _MAX_ROUND_BYTES:
            raise InputError(f"{path}: more than {_MAX_ROUND_BYTES} bytes; no round of retries is that large")
        planned = RetryRound.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such round of retries") from None
    except ValidationError as error:
        raise InputError(f"{path}: not a round of retries: {error.errors()[0]['msg']}") from None
    if planned.format_version != ROUND_VERSION or planned.round != number:
        raise InputError(f"{path}: version {planned.format_version}, round {planned.round}; expected 1 and {number}")
    return planned


def write_round(folder: Location, planned: RetryRound) -> None:
    """Writes ``retry-{r}.json``, whole or not at all."""
    atomic.write_text(_path(folder, planned.round), planned.model_dump_json(indent=1) + "\n")


def latest_round(folder: Location) -> int | None:
    """The number of the latest round that was planned; None where none was."""
    numbers = [path.stem.removeprefix("retry-") for path in folder.glob("retry-*.json")]
    return max((int(number) for number in numbers if number.isascii() and number.isdigit()), default=None)


def _path(folder: Location, number: int) -> Path:
    return record_path(folder, f"retry-{number}")
