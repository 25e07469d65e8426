"""Once more what failed, into shards beside the good ones: rounds of retries (``extract.retry_round``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.configuration import build, override, read_yaml
from data_specs.errors import InputError, did_you_mean
from data_specs.failures import Reason
from data_specs.location import Location
from data_specs.manifest import Manifest, read_manifest
from data_specs.outstanding import outstanding_failures
from data_specs.series import in_series_order
from data_specs.shard_index import read_index
from data_specs.shards import Provenance, committed, iterate_keys, provenance_difference, read_record, record_paths
from extract.driver import CONFIG_NAME, run_extraction
from extract.retry_round import RetryPlan, RetryRound, latest_round, read_round, write_round
from extract.safety.folder_lock import alone_in
from extract.settings import ExtractionSettings, provenance

ALL = "all"
WORTH_IT = (Reason.TIMEOUT, Reason.KILLED_WORKER, Reason.DECODE_ERROR)  # may go well on the same file another day


def retry_failures(
    folder: Location,
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


def unfinished_round(folder: Location, manifest: Manifest) -> RetryRound | None:
    """The latest round, if not all of its shards are committed and in the index.

    Raises:
        InputError: its file is broken.
    """
    latest = latest_round(folder)
    if latest is None:
        return None
    planned = read_round(folder, latest)
    names = RetryPlan(manifest, planned).names
    whole = all(committed(folder, name) is not None for name in names)
    return None if whole and set(names) <= _listed(folder) else planned


def plan_round(
    folder: Location,
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
        round=(latest_round(folder) or 0) + 1,
        reasons=reasons,
        assignments=assignments,
        videos_per_shard=videos_per_shard,
        manifest_sha256=manifest_sha256,
        ids=tuple(kept),
    )
    write_round(folder, planned)
    return planned


def failures_that_stand(folder: Location) -> Iterable[tuple[str, Reason]]:
    """Id and latest reason of each failure that no round has made good, read from the commit records."""
    paths = {path.stem: path for path in record_paths(folder)}
    found = (read_record(paths[name]) for name in in_series_order(paths))
    standing = outstanding_failures(found, lambda record: iterate_keys(folder / record.shard))
    return [(failure.id, failure.reason) for failure in standing.values()]


def settings_of(folder: Location, root: Path, assignments: tuple[str, ...]) -> ExtractionSettings:
    """The settings with which the folder was made, ``--set`` applied.

    Raises:
        InputError: the folder has no ``config.yaml`` (an unfinished run, or an import), or an unknown key.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise InputError(f"{path}: absent; finish the extraction first with: python -m extract run --out {folder}")
    tree = override(read_yaml(path), assignments) | {"root": root, "out": folder}
    return build(ExtractionSettings, tree, str(path))


def refuse_other_features(folder: Location, made_with: Provenance) -> None:
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


def _listed(folder: Location) -> set[str]:
    """Shards that the index lists; a kill between the last record and the index leaves some out."""
    try:
        return {entry.url.removesuffix(".tar") for entry in read_index(folder).shardlist}
    except InputError:
        return set()


def _command(planned: RetryRound) -> str:
    chosen = "".join(f" --set {assignment}" for assignment in planned.assignments)
    return f"python -m extract retry ... --reasons {','.join(planned.reasons)}{chosen}"
