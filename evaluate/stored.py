"""What a folder of region shards holds, learnt from commit records and tar headers, without reading a feature."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.samples import Sample, SampleError
from data_specs.series import in_series_order
from data_specs.shards import Provenance, ShardError, iterate_keys, iterate_shard, provenance_difference, records


@dataclass(frozen=True)
class StoredShards:
    """tars: the committed shards, as they were made. shard_of: id to tar, in the order of tars and samples. sha256: of
    each tar, as committed. failures: id to why it has no sample."""

    folder: Path
    tars: tuple[Path, ...]
    provenance: Provenance
    shard_of: Mapping[str, Path]
    sha256: Mapping[Path, str]
    failures: Mapping[str, Failure]

    def in_order(self, ids: Collection[str]) -> list[str]:
        """The ids in the order of the shards, each once.

        Raises:
            InputError: one of them is not in the shards.
        """
        wanted = frozenset(ids)
        absent = sorted(wanted - self.shard_of.keys())
        if absent:
            raise InputError(f"{self.folder}: no sample of {absent[0]!r} and {len(absent) - 1} more")
        return [identifier for identifier in self.shard_of if identifier in wanted]

    def sample_blocks(self, blocks: Sequence[Sequence[str]]) -> Iterator[list[Sample]]:
        """The samples of some blocks of ids, cut from ``in_order``; every shard is opened once.

        Raises:
            InputError: a shard or a sample breaks the contract, or a shard has changed meanwhile.
        """
        samples = self.samples(frozenset(identifier for block in blocks for identifier in block))
        for block in blocks:
            found = list(islice(samples, len(block)))
            if [sample.id for sample in found] != list(block):
                raise InputError(f"{self.folder}: the shard of {block[0]!r} has changed while it was read")
            yield found

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
    record_of = {record.name: record for record in found}
    found = [record_of[name] for name in in_series_order(record_of)]  # a retry's failure is the later one
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
    sha256 = {folder / record.shard: record.sha256 for record in found}
    return StoredShards(folder, tuple(sha256), found[0].provenance, shard_of, sha256, failures)
