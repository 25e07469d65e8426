"""Which shards of a plan stand already, so that only the others are made."""

from __future__ import annotations

from data_specs.errors import InputError
from data_specs.location import Location
from data_specs.series import parse_shard_name
from data_specs.shards import Provenance, committed, provenance_difference, record_paths
from extract.plan import PlannedShards


def standing_shards(folder: Location, plan: PlannedShards, provenance: Provenance) -> dict[str, int]:
    """Number of failures of each shard of the plan that is committed, by name.

    Raises:
        InputError: a shard of the folder was made or planned differently.
    """
    planned = set(plan.names)
    series = {name.series for name in map(parse_shard_name, planned) if name is not None}
    hashes: dict[str, str] = {}
    failures: dict[str, int] = {}
    for path in record_paths(folder):
        record = committed(folder, path.stem)
        if record is None:
            continue
        if record.provenance != provenance:
            difference = provenance_difference(record.provenance, provenance)
            raise InputError(f"{folder}/{record.shard} was made differently ({difference}); choose another --out")
        if record.name in planned:
            hashes[record.name], failures[record.name] = record.plan_hash, len(record.failures)
        elif (name := parse_shard_name(record.name)) is not None and name.series in series:
            raise InputError(f"{folder}/{record.shard} is not in this plan; choose another --out")
    for shard in plan.shards(hashes):
        if hashes[shard.name] != shard.hash:
            raise InputError(
                f"{folder}/{shard.name}.tar was made from another plan (manifest rows or --videos-per-shard differ);"
                " choose another --out"
            )
    return failures
