"""Shards of fewer regions: so many of each frame's, chosen at random, in place of the most confident ones.

For the question whether it matters that they are the most confident ("sorted selection"): a run on shards with 5 of
30 regions chosen so stands beside a run that reads the first 5.

Letters: F frames, R regions a frame, K regions that stay.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.regions import Regions
from data_specs.samples import Sample
from data_specs.shard_index import ShardIndex, build_index, read_labels, write_labels
from data_specs.shards import CommitRecord, committed, iterate_shard, records, write_shard


def thin_shards(folder: Path, out: Path, regions: int, seed: int, report: Callable[[], None]) -> ShardIndex:
    """Writes each shard of ``folder`` to ``out`` with ``regions`` a frame; what is committed there is kept.

    report: called after each shard.

    Raises:
        InputError: the shards have no more than that, or are what is to be written.
        ShardError, SampleError: one of them is broken.
    """
    found = records(folder)
    if not 1 <= regions < found[0].provenance.regions:
        raise InputError(f"--regions {regions}: {folder} has {found[0].provenance.regions} a frame; ask for fewer")
    if out.resolve() == folder.resolve():
        raise InputError(f"--out {out}: is the folder of the shards themselves")
    out.mkdir(parents=True, exist_ok=True)
    for record in found:
        made_with = record.provenance.model_copy(
            update={
                "regions": regions,
                "detector_settings": record.provenance.detector_settings
                | {"thinned": f"{regions} of {record.provenance.regions} at random, seed {seed}"},
            }
        )
        there = committed(out, record.name)
        if there is None or there.provenance != made_with:
            write_shard(out, record.name, _thinned(folder, record, regions, seed), record.plan_hash, made_with)
        report()
    write_labels(out, read_labels(folder))
    return build_index(out, records(out))


def thin(regions: Regions, most: int, generator: np.random.Generator) -> Regions:
    """``most`` of each frame's regions, each set of them as likely as any other, in their order of confidence."""
    F, R = regions.scores.shape
    order_FR = np.where(regions.mask, generator.random((F, R)), np.inf).argsort(axis=1, kind="stable")
    chosen_FK = np.sort(order_FR[:, :most], axis=1)  # padding comes last, before and after
    frame = np.arange(F)[:, None]
    arrays = {name: array[frame, chosen_FK] for name, array in regions.arrays().items() if name != "count"}
    return Regions(**arrays, count=np.minimum(regions.count, most).astype(np.int32))


def _thinned(folder: Path, record: CommitRecord, regions: int, seed: int) -> Iterator[Sample | Failure]:
    for sample in iterate_shard(folder / record.shard):
        generator = np.random.default_rng([seed, zlib.crc32(sample.id.encode())])
        yield replace(sample, regions=thin(sample.regions, regions, generator))
    yield from record.failures
