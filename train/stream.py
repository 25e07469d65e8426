"""Region shards to batches: in an order that is a pure function of seed and epoch, resumable at any batch.

An epoch is ``data.rounds`` rounds, one behind the other without a break. A round takes every clip once, and has an
order, frames and texts of its own; rounds are counted through all epochs. Of several folders, batches are taken in
turn, one of each, and of those that are left when one is exhausted. Batch b of a folder is positions b*size to
(b+1)*size of its order in this round (``train.reading.order``); the positions past the last whole batch (fewer than
one batch) are left out of this round and differ from round to round.

The size of a batch is that of all ranks together: each rank takes a contiguous share of it, equal within one sample,
and each of its reading processes a share of that. So every rank has the same number of batches whatever the shards
hold, and with another number of ranks or processes the batches are the same. A sample that cannot be read leaves its
slot empty, so its batch is smaller and every other batch stays as it is.

Letters: B clips, F frames, R regions a frame, V feature width, K box width.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import DataConfig
from train.reading.assembly import Assembly
from train.reading.loader import Readers, room_shape
from train.reading.parts import Part, PartReader
from train.reading.plan import Consumer, Plan
from train.reading.shared_rooms import RoomShape
from train.reading.sources import Shard, Source, open_sources
from train.reading.texts import Asked

MAX_CORRUPT_IN_A_ROW = 100
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one data set, ``source``: caption i is one of the captions of video i, ``keys[i]`` its key.

    With ``data.questions`` there are no captions but ``questions``, each of which names the video that it is about;
    those of a video stand together.
    """

    keys: tuple[str, ...]
    captions: tuple[str, ...]
    video: RegionBatch
    source: str
    questions: tuple[Asked, ...] = ()


class RegionStream:
    """A rank's share of the batches of the shards that ``config`` names.

    ``batch_size``: clips a batch, of all ranks together; a smaller data set's batches have its size.
    ``corrupt`` counts, for each sample of this rank that could not be read, how often that was since the stream was
    made; the keys are lines that name shard, sample and field.
    ``pinned``: the batches lie in memory that CUDA copies from while it computes.

    Raises:
        InputError: no index, no such split, a shard that is not committed or not the one that the index lists,
            folders that were not made alike, or too few samples for a batch over all ranks.
    """

    def __init__(
        self, config: DataConfig, box_dim: int, rank: int = 0, world: int = 1, *, pinned: bool = False
    ) -> None:
        self.config = config
        self.box_dim = box_dim
        self.rank, self.world = rank, world
        self._plan = Plan(config, box_dim, open_sources(config))
        self._plan.check(world)
        self.corrupt: Counter[str] = Counter()
        self._in_a_row = 0
        self._readers: Readers | None = None
        self._reader = PartReader(self._plan, Consumer(rank, world))
        self._assembly = Assembly(room_shape(self._plan, Consumer(rank, world)), pinned)

    @property
    def feature_dim(self) -> int:
        """V, the width of all features."""
        return self._plan.feature_dim

    @property
    def sources(self) -> Sequence[Source]:
        """The folders, in the order in which they take turns."""
        return self._plan.sources

    @property
    def shards(self) -> list[Shard]:
        """The shards of all folders."""
        return [shard for source in self._plan.sources for shard in source.shards]

    @property
    def num_samples(self) -> int:
        """Samples that rounds draw from: the subsets of all folders."""
        return sum(self._plan.taken)

    @property
    def batch_size(self) -> int:
        """Clips of the largest batch, over all ranks."""
        return max(self._plan.batch_sizes)

    @property
    def batches_per_epoch(self) -> int:
        """The same on every rank."""
        return len(self._plan.turns)

    @property
    def samples_per_epoch(self) -> int:
        """Clips of all batches of an epoch, over all ranks."""
        return sum(self._plan.batch_sizes[source] for source, _ in self._plan.turns)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the sequence of batches depends on, the shards' contents included."""
        no_matter = {"shards", "max_corrupt", "workers", "verify_hashes"}
        drawn = self.config.model_dump(exclude=no_matter, mode="json")
        held = [[shard.sha256 for shard in source.shards] for source in self._plan.sources]
        return hashlib.sha256(repr((drawn, held)).encode()).hexdigest()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches ``start`` to the last one of an epoch, this rank's share of each. What is drawn (order, frames,
        texts) depends on the configuration's seed and ``epoch`` alone, so any ``start`` gives the tail of the same
        sequence. Given up half-way it must be closed: that ends its reading processes.

        Raises:
            InputError: a shard is gone, cut or changed, too many samples are corrupt, or a sample has no caption.
            ReaderDied: a reading process was killed.
        """
        made = self._in_processes if self.config.workers else self._in_this_process
        with closing(made(epoch, start)) as batches:
            yield from batches

    def close(self) -> None:
        """Ends the reading processes, if there are any."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None

    def check_corrupt(self) -> None:
        """Whether no more samples were unreadable than may be.

        Raises:
            InputError: more were.
        """
        if len(self.corrupt) > max(1, int(self.config.max_corrupt * self.num_samples)):
            raise InputError(self._too_many(next(reversed(self.corrupt))))

    def _too_many(self, last: str) -> str:
        allowed = max(1, int(self.config.max_corrupt * self.num_samples))
        return (
            f"{len(self.corrupt)} of {self.num_samples} samples cannot be read, {allowed} may (data.max_corrupt); the"
            f" last: {last}. Check the shards with: python -m extract verify FOLDER"
        )

    def _in_this_process(self, epoch: int, start: int) -> Iterator[Batch]:
        with closing(self._reader.parts(epoch, start, self._assembly.begin)) as parts:
            for part in parts:
                self._count(part)
                yield self._finished([part])

    def _in_processes(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._readers is None:
            self._readers = Readers(self._plan, self.rank, self.world, self.config.workers)
            weakref.finalize(self, self._readers.close)
        whole = False
        try:
            for parts in self._readers.parts(epoch, start, self.batches_per_epoch):
                self._assembly.begin()
                for part, room in parts:
                    self._count(part)
                    self._assembly.add(len(part), room)
                yield self._finished([part for part, _ in parts])
            whole = True
        finally:
            if not whole:
                self.close()

    def _finished(self, parts: list[Part]) -> Batch:
        keys = tuple(key for part in parts for key in part.keys)
        if not keys:
            raise InputError(f"{next(reversed(self.corrupt))}; with it a whole batch is lost; raise data.batch_size")
        captions = tuple(caption for part in parts for caption in part.captions)
        source = self._plan.sources[parts[0].source].name
        return Batch(keys, captions, self._assembly.rows(len(keys)), source, tuple(_joined_questions(parts)))

    def _count(self, part: Part) -> None:
        """Keeps count of what could not be read, and stops at too much of it."""
        slot = 0
        for number, problem in part.problems:
            self._in_a_row = self._in_a_row + 1 if number == slot else 1
            slot = number + 1
            self.corrupt[problem] += 1
            if self._in_a_row >= MAX_CORRUPT_IN_A_ROW:
                raise InputError(f"{self._in_a_row} samples in a row cannot be read; {self._too_many(problem)}")
            self.check_corrupt()
        if slot < part.slots:
            self._in_a_row = 0


def _joined_questions(parts: list[Part]) -> Iterator[Asked]:
    """Those of all parts of a batch, whose rows are the clips of one part behind those of the other."""
    first = 0
    for part in parts:
        for asked in part.questions:
            yield replace(asked, clip=first + asked.clip)
        first += len(part)


def sequential(config: DataConfig, box_dim: int, most: int, batch_size: int) -> Iterator[Batch]:
    """The first ``most`` clips of the shards, as they stand, in batches: with centred frames and first captions.

    With ``config.questions`` each has all its open-ended questions, in their order, in place of a caption.

    Raises:
        InputError: as the stream's; here a sample that cannot be read stops, too: nothing is skipped in evaluation.
            Or none has a question, where they are taken.
    """
    config = config.model_copy(update={"draw_frames": False})
    plan = Plan(config, box_dim, open_sources(config))
    if not any(source.samples for source in plan.sources):
        raise InputError(f"{', '.join(map(str, config.shards))}: no samples of the splits {', '.join(config.splits)}")
    batch = Assembly(RoomShape(batch_size, config.frames, config.regions, plan.feature_dim, box_dim))
    asked = 0
    for part in PartReader(plan, Consumer()).in_order(most, batch_size, batch.begin):
        if part.problems:
            raise InputError(f"{part.problems[0][1]}; nothing is skipped here: extract it again")
        source = plan.sources[part.source].name
        asked += len(part.questions)
        yield Batch(part.keys, part.captions, batch.rows(len(part)), source, part.questions)
    if config.questions and not asked:
        raise InputError(
            f"{', '.join(map(str, config.shards))}: no open-ended question about the splits {', '.join(config.splits)}"
        )


def open_shards(config: DataConfig) -> tuple[int, list[Shard]]:
    """Feature width and shards of all folders, each checked against its commit record. For errors see the stream."""
    sources = open_sources(config)
    return sources[0].provenance.feature_dim, [shard for source in sources for shard in source.shards]


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while the last one is used. Closes ``items`` at its end."""
    try:
        with ThreadPoolExecutor(1, "batches") as thread:
            done = object()
            pending = thread.submit(next, items, done)
            while (item := pending.result()) is not done:
                pending = thread.submit(next, items, done)
                yield item  # type: ignore[misc]
    finally:
        if hasattr(items, "close"):
            items.close()
