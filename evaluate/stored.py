"""What a folder of region shards holds, learnt from commit records and tar headers, without reading a feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.samples import Sample, SampleError
from data_specs.shards import Provenance, ShardError, iterate_keys, iterate_shard, provenance_difference, records


@dataclass(frozen=True)
class StoredShards:
    """tars: the committed shards in order. shard_of: id to tar. failures: id to why it has no sample."""

    folder: Path
    tars: tuple[Path, ...]
    provenance: Provenance
    shard_of: Mapping[str, Path]
    failures: Mapping[str, Failure]

    def samples(self, wanted: frozenset[str]) -> Iterator[Sample]:
        """The samples of the wanted ids, each once, in shard order; shards that hold none of them are not opened.

        Raises:
            InputError: a shard or a sample breaks the contract, naming it.
        """
        needed = {self.shard_of[identifier] for identifier in wanted & self.shard_of.keys()}
        for tar in self.tars:
            if tar not in needed:
                continue
            try:
                yield from (sample for sample in iterate_shard(tar) if sample.id in wanted)
            except (ShardError, SampleError) as error:
                raise InputError(f"{self.folder}: {error}; check it with: python -m extract verify") from None


def read_stored(folder: Path) -> StoredShards:
    """Lists a folder of shards.

    Raises:
        InputError: no shards, a cut one, one id in two shards, or shards that were made in different ways.
    """
    try:
        found = records(folder)
    except ShardError as error:
        raise InputError(str(error)) from None
    shard_of: dict[str, Path] = {}
    failures: dict[str, Failure] = {}
    for record in found:
        if record.provenance != found[0].provenance:
            difference = provenance_difference(found[0].provenance, record.provenance)
            raise InputError(f"{folder}: {found[0].shard} and {record.shard} were made differently: {difference}")
        tar = folder / record.shard
        if not tar.is_file() or tar.stat().st_size != record.bytes:
            raise InputError(f"{tar}: not the {record.bytes} bytes of its commit record; run the extraction again")
        try:
            ids = list(iterate_keys(tar))
        except ShardError as error:
            raise InputError(f"{error}; check it with: python -m extract verify {folder}") from None
        for identifier in ids:
            if identifier in shard_of:
                raise InputError(f"{folder}: {identifier!r} stands in {shard_of[identifier].name} and {tar.name}")
            shard_of[identifier] = tar
        failures |= {failure.id: failure for failure in record.failures}
    tars = tuple(folder / record.shard for record in found)
    return StoredShards(folder, tars, found[0].provenance, shard_of, failures)
