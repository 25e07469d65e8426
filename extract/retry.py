"""Rounds of retries: the items that failed for some reasons, once more, into shards beside the good ones.

Round r makes shards ``{split}-r{r}-{00000}``. Which items they hold is written into ``retry-{r}.json`` before the
first of them is made, so that a round which was stopped goes on to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from data_specs import atomic
from data_specs.configuration import Settings, build, override, read_yaml
from data_specs.errors import InputError, did_you_mean
from data_specs.failures import Reason
from data_specs.manifest import SPLITS, Manifest, read_manifest
from data_specs.manifest_rows import plain_texts
from data_specs.outstanding import outstanding_failures
from data_specs.series import ShardName, in_series_order
from data_specs.shards import (
    Provenance,
    committed,
    iterate_keys,
    provenance_difference,
    read_record,
    record_path,
    record_paths,
)
from extract.driver import CONFIG_NAME, run_extraction
from extract.folder_lock import alone_in
from extract.plan import ShardPlan
from extract.settings import ExtractionSettings, provenance

ROUND_VERSION = 1
ALL = "all"
WORTH_IT = (Reason.TIMEOUT, Reason.KILLED_WORKER, Reason.DECODE_ERROR)  # may go well on the same file another day
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


class RetryPlan:
    """The shards of a round, with the face of ``extract.plan.Plan``.

    Raises:
        InputError: the manifest lacks an id of the round.
    """

    def __init__(self, manifest: Manifest, planned: RetryRound) -> None:
        self._manifest = manifest
        places = pc.index_in(pa.array(planned.ids, pa.string()), value_set=manifest.table["id"].combine_chunks())
        if places.null_count:
            raise InputError(f"the manifest has no row with id {planned.ids[places.index(None).as_py()]!r}")
        split_of = plain_texts(manifest.table["split"])
        splits = split_of.take(places).to_pylist()
        self._rows: list[tuple[str, Sequence[int]]] = []
        for split in SPLITS:
            rows = [row for row, found in zip(places.to_pylist(), splits, strict=True) if found == split]
            for number, at in enumerate(range(0, len(rows), planned.videos_per_shard)):
                name = str(ShardName(planned.round, split, number))
                self._rows.append((name, rows[at : at + planned.videos_per_shard]))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ShardPlan]:
        for name, rows in self._rows:
            yield ShardPlan(name, tuple(self._manifest.take(rows)))

    @property
    def num_items(self) -> int:
        return sum(len(rows) for _, rows in self._rows)

    @property
    def names(self) -> list[str]:
        """Shard names, in order."""
        return [name for name, _ in self._rows]


def retry_failures(
    folder: Path,
    manifest_path: Path,
    root: Path,
    reasons: str | None,
    assignments: tuple[str, ...],
    videos_per_shard: int,
    workers: int,
    address: str | None,
) -> tuple[RetryRound, int] | None:
    """Finishes an unfinished round, else plans and makes the next; gives the round and how many failed again.

    None where no failure has one of the reasons. For ``reasons`` see ``parse_reasons``, for the rest
    ``extract.driver.run_extraction``.

    Raises:
        InputError: the retries would be made differently, or an unfinished round has other reasons or settings.
    """
    wanted = parse_reasons(reasons)
    manifest = read_manifest(manifest_path)
    settings = settings_of(folder, root, assignments)
    made_with = provenance(settings, manifest, manifest_path)
    refuse_other_features(folder, made_with)
    with alone_in(folder):
        planned = unfinished_round(folder, manifest)
        if planned is None:
            planned = plan_round(folder, manifest, made_with.manifest_sha256, wanted, assignments, videos_per_shard)
        elif (reasons and planned.reasons != wanted) or (assignments and planned.assignments != assignments):
            raise InputError(f"{folder}: round {planned.round} is not finished; finish it first: {_command(planned)}")
    if planned is None:
        return None
    settings = settings_of(folder, root, planned.assignments)
    outcome = run_extraction(settings, RetryPlan(manifest, planned), made_with, workers, address)
    return planned, outcome.failures


def parse_reasons(text: str | None) -> tuple[Reason, ...]:
    """``timeout,killed_worker`` as reasons; ``all`` is every one; None: those that may go well on the same file.

    Raises:
        InputError: an unknown reason; the nearest are said.
    """
    if text is None:
        return WORTH_IT
    known = [reason.value for reason in Reason]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [ALL]:
        return tuple(Reason)
    for name in names:
        if name not in known:
            raise InputError(f"--reasons {name}: {did_you_mean(name, [*known, ALL])}")
    if not names:
        raise InputError(f"--reasons is empty; known: {', '.join([*known, ALL])}")
    return tuple(reason for reason in Reason if reason.value in names)


def unfinished_round(folder: Path, manifest: Manifest) -> RetryRound | None:
    """The latest round, if not all of its shards are committed.

    Raises:
        InputError: its file is broken.
    """
    latest = _latest(folder)
    if latest is None:
        return None
    planned = read_round(folder, latest)
    if all(committed(folder, name) is not None for name in RetryPlan(manifest, planned).names):
        return None
    return planned


def plan_round(
    folder: Path,
    manifest: Manifest,
    manifest_sha256: str,
    reasons: tuple[Reason, ...],
    assignments: tuple[str, ...],
    videos_per_shard: int,
) -> RetryRound | None:
    """Plans the next round and writes it; None, and nothing is written, where no failure has one of the reasons."""
    wanted = {identifier for identifier, reason in failures_that_stand(folder) if reason in reasons}
    ids = manifest.table["id"]
    kept = ids.filter(pc.is_in(ids, value_set=pa.array(sorted(wanted), pa.string()))).to_pylist()
    if not kept:
        return None
    planned = RetryRound(
        round=(_latest(folder) or 0) + 1,
        reasons=reasons,
        assignments=assignments,
        videos_per_shard=videos_per_shard,
        manifest_sha256=manifest_sha256,
        ids=tuple(kept),
    )
    atomic.write_text(_path(folder, planned.round), planned.model_dump_json(indent=1) + "\n")
    return planned


def failures_that_stand(folder: Path) -> Iterable[tuple[str, Reason]]:
    """Id and latest reason of each failure that no round has made good, read from the commit records."""
    paths = {path.stem: path for path in record_paths(folder)}
    found = (read_record(paths[name]) for name in in_series_order(paths))
    standing = outstanding_failures(found, lambda record: iterate_keys(folder / record.shard))
    return [(failure.id, failure.reason) for failure in standing.values()]


def read_round(folder: Path, number: int) -> RetryRound:
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


def settings_of(folder: Path, root: Path, assignments: tuple[str, ...]) -> ExtractionSettings:
    """The settings with which the folder was made, ``--set`` applied.

    Raises:
        InputError: the folder has no ``config.yaml`` (an unfinished run, or an import), or an unknown key.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise InputError(f"{path}: absent; finish the extraction first with: python -m extract run --out {folder}")
    tree = override(read_yaml(path), assignments) | {"root": root, "out": folder}
    return build(ExtractionSettings, tree, str(path))


def refuse_other_features(folder: Path, made_with: Provenance) -> None:
    """Raises InputError where the retries would be made differently from the shards that are there."""
    paths = record_paths(folder)
    if not paths:
        raise InputError(f"{folder}: holds no committed shard; make some with: python -m extract run --out {folder}")
    made = read_record(paths[0]).provenance
    if difference := provenance_difference(made, made_with):
        raise InputError(
            f"{folder}: a retry keeps what the features depend on, and this one would differ ({difference});"
            " only limits may change, for example --set limits.wall_s=300"
        )


def _command(planned: RetryRound) -> str:
    chosen = "".join(f" --set {assignment}" for assignment in planned.assignments)
    return f"python -m extract retry ... --reasons {','.join(planned.reasons)}{chosen}"


def _latest(folder: Path) -> int | None:
    numbers = [path.stem.removeprefix("retry-") for path in folder.glob("retry-*.json")]
    return max((int(number) for number in numbers if number.isascii() and number.isdigit()), default=None)


def _path(folder: Path, number: int) -> Path:
    return record_path(folder, f"retry-{number}")
