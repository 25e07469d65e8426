"""Region shards to batches: in an order that is a pure function of seed and epoch, resumable at any batch.

An epoch is a sequence of slots, one a sample that the index promises. The order of the slots needs no reading: a
permutation of the shards, then a shuffle within a bounded window. Batch b is slots b*size to (b+1)*size; the slots
past the last whole batch (fewer than one batch) are left out of this epoch and differ from epoch to epoch. A sample
that cannot be read leaves its slot empty, so its batch is smaller and every other batch stays as it is.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import webdataset

from data_specs.errors import InputError, did_you_mean
from data_specs.samples import METADATA_SUFFIX, REGIONS_SUFFIX, Sample, SampleError, decode_sample
from data_specs.series import parse_shard_name
from data_specs.shard_index import read_index
from data_specs.shards import ShardError, check_members, committed
from train.batch import RegionBatch, collate_regions
from train.config import DataConfig

MAX_CORRUPT_IN_A_ROW = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A committed tar, the number of samples it holds, and its hash."""

    path: Path
    samples: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Matching pairs: caption i is one of the captions of video i, ``keys[i]`` its key."""

    keys: tuple[str, ...]
    captions: tuple[str, ...]
    video: RegionBatch


@dataclass(frozen=True)
class _Raw:
    """A sample's bytes as they stand in the tar; None for a member that is not there."""

    shard: str
    key: str
    regions: bytes | None
    metadata: bytes | None


class RegionStream:
    """Batches of the shards that ``config`` names.

    ``corrupt`` counts, for each sample that could not be read, how often that was since the stream was made; the
    keys are lines that name shard, sample and field.

    Raises:
        InputError: no index, no such split, a shard that is not committed or not the one that the index lists,
            or folders whose features differ in width.
    """

    def __init__(self, config: DataConfig, box_dim: int) -> None:
        self.config = config
        self.box_dim = box_dim
        self.feature_dim, self.shards = open_shards(config)
        self.num_samples = sum(shard.samples for shard in self.shards)
        if self.num_samples < 2:
            raise InputError(f"{_named(config)}: {self.num_samples} samples; a contrast needs at least 2")
        self.batch_size = min(config.batch_size, self.num_samples)
        self.batches_per_epoch = self.num_samples // self.batch_size
        self.corrupt: Counter[str] = Counter()
        self._in_a_row = 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the sequence of batches depends on, the shards' contents included."""
        drawn = self.config.model_dump(exclude={"shards", "max_corrupt"}, mode="json")
        return hashlib.sha256(repr((drawn, [shard.sha256 for shard in self.shards])).encode()).hexdigest()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches ``start`` to the last one of an epoch. What is drawn (order, frames, captions) depends on the
        configuration's seed and ``epoch`` alone, so any ``start`` gives the tail of the same sequence.

        Raises:
            InputError: a shard is cut or changed, too many samples are corrupt, or a sample has no caption.
        """
        skipped = start * self.batch_size
        end = self.batches_per_epoch * self.batch_size
        slots = self._slots(epoch, skipped)
        for number in range(start, end // self.batch_size):
            samples = [self._decode(raw) for raw in islice(slots, self.batch_size)]
            yield self._collate(epoch, number, [sample for sample in samples if sample is not None])

    def _slots(self, epoch: int, skipped: int) -> Iterator[_Raw]:
        """The epoch's samples from slot ``skipped`` on. Shards that lie wholly before it are not read."""
        order = np.random.default_rng([self.config.seed, epoch, 0]).permutation(len(self.shards))
        shards = [self.shards[i] for i in order]
        window, seed = self.config.shuffle_window, [self.config.seed, epoch, 1]
        places = ((number, place) for number, shard in enumerate(shards) for place in range(shard.samples))
        past = set(islice(shuffle_within(places, window, np.random.default_rng(seed)), skipped))

        def read() -> Iterator[_Raw | None]:
            for number, shard in enumerate(shards):
                wholly_past = all((number, place) in past for place in range(shard.samples))
                yield from [None] * shard.samples if wholly_past else read_shard(shard)

        mixed = shuffle_within(read(), window, np.random.default_rng(seed))
        return (raw for raw in islice(mixed, skipped, None) if raw is not None)

    def _decode(self, raw: _Raw) -> Sample | None:
        try:
            if raw.regions is None or raw.metadata is None:
                raise SampleError(raw.key, METADATA_SUFFIX if raw.regions else REGIONS_SUFFIX, "absent", raw.shard)
            sample = decode_sample(raw.key, raw.regions, raw.metadata)
        except SampleError as error:
            self._count(str(error if raw.shard in str(error) else error.inside(raw.shard)))
            return None
        self._in_a_row = 0
        if not sample.captions:
            raise InputError(f"{raw.shard}: sample {raw.key} has no caption, so there is nothing to learn from it")
        return sample

    def _count(self, problem: str) -> None:
        self.corrupt[problem] += 1
        self._in_a_row += 1
        allowed = max(1, int(self.config.max_corrupt * self.num_samples))
        distinct = len(self.corrupt)
        if distinct > allowed or self._in_a_row >= MAX_CORRUPT_IN_A_ROW:
            raise InputError(
                f"{distinct} of {self.num_samples} samples cannot be read, {allowed} may (data.max_corrupt); the last:"
                f" {problem}. Check the shards with: python -m extract verify FOLDER"
            )

    def _collate(self, epoch: int, number: int, samples: list[Sample]) -> Batch:
        if not samples:
            raise InputError(f"{next(reversed(self.corrupt))}; with it a whole batch is lost; raise data.batch_size")
        rng = np.random.default_rng([self.config.seed, epoch, 2, number])
        captions = tuple(sample.captions[rng.integers(len(sample.captions))] for sample in samples)
        clips = [sample.regions for sample in samples]
        video = collate_regions(clips, self.config.frames, self.config.regions, self.box_dim, rng)
        return Batch(tuple(sample.key for sample in samples), captions, video)


def open_shards(config: DataConfig) -> tuple[int, list[Shard]]:
    """Feature width and shards of all folders, each checked against its commit record. For errors see the stream."""
    shards: list[Shard] = []
    widths: dict[Path, int] = {}
    splits: set[str] = set()
    if len({folder.resolve() for folder in config.shards}) < len(config.shards):
        raise InputError(f"data.shards: {_named(config)}: a folder is named twice, so its samples would count double")
    for folder in config.shards:
        index = read_index(folder)
        widths[folder] = index.provenance.feature_dim
        for entry in index.shardlist:
            name = parse_shard_name(entry.url.removesuffix(".tar"))
            if name is None:
                raise InputError(f"{folder}: the index lists {entry.url!r}, which is no name of a shard")
            splits.add(name.split)
            if name.split not in config.splits:
                continue
            record = committed(folder, entry.url.removesuffix(".tar"))
            if record is None or (record.sha256, record.num_samples) != (entry.sha256, entry.nsamples):
                raise InputError(
                    f"{folder / entry.url}: cut, changed or not committed since the index was made; look with:"
                    f" python -m extract verify {folder}, repair with: python -m extract run --out {folder}"
                )
            if record.provenance != index.provenance:
                raise InputError(f"{folder / entry.url}: made differently from what {folder / 'index.json'} says")
            shards.append(Shard((folder / entry.url).resolve(), record.num_samples, record.sha256))
    for split in config.splits:
        if split not in splits:
            raise InputError(
                f"data.splits: no shard of split {split!r} in {_named(config)}: {did_you_mean(split, splits)}"
            )
    if len(set(widths.values())) > 1:
        raise InputError("data.shards: features differ in width: " + ", ".join(f"{f}: {w}" for f, w in widths.items()))
    return next(iter(widths.values())), shards


def read_shard(shard: Shard) -> Iterator[_Raw]:
    """A shard's samples as bytes, in order.

    Raises:
        InputError: the tar is cut, or holds more or fewer samples than were committed.
    """
    found = 0
    try:
        check_members(shard.path)
    except ShardError as error:
        raise InputError(f"{error}; extract it again") from None
    # The tar's own order, every shard by whoever asks: order and division among ranks are decided above.
    pipeline = webdataset.WebDataset(
        [str(shard.path)], shardshuffle=False, nodesplitter=None, workersplitter=None, empty_check=False
    )
    try:
        for sample in pipeline:
            found += 1
            if found > shard.samples:
                break
            key = sample["__key__"]
            yield _Raw(shard.path.name, key, sample.get(REGIONS_SUFFIX), sample.get(METADATA_SUFFIX))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{shard.path}: not a whole tar: {error.args[0] if error.args else error}") from None
    if found != shard.samples:
        less = "more" if found > shard.samples else f"{found}"
        raise InputError(f"{shard.path}: {less} samples where {shard.samples} were committed; extract it again")


def shuffle_within(items: Iterable[T], window: int, rng: np.random.Generator) -> Iterator[T]:
    """Every item once, each drawn at random from a window that holds the next ``window`` items."""
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) >= window:
            yield _draw(held, rng)
    while held:
        yield _draw(held, rng)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while the last one is used."""
    with ThreadPoolExecutor(1, "batches") as thread:
        done = object()
        pending = thread.submit(next, items, done)
        while (item := pending.result()) is not done:
            pending = thread.submit(next, items, done)
            yield item  # type: ignore[misc]


def _draw(held: list[T], rng: np.random.Generator) -> T:
    chosen = int(rng.integers(len(held)))
    held[chosen], held[-1] = held[-1], held[chosen]
    return held.pop()


def _named(config: DataConfig) -> str:
    return ", ".join(str(folder) for folder in config.shards)
