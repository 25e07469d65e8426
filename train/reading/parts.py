"""One process's part of every batch: which samples, which frames and texts of them, read into a given room.

Letters: B clips, F frames, R regions a frame, V feature width, K box width. Nothing here needs torch, so that a
reading process starts in a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.partial import decode_frames
from data_specs.regions import Regions
from data_specs.samples import Sample, SampleError
from train.reading.frames import select_frames
from train.reading.order import Draw, generator, shard_of
from train.reading.plan import Consumer, Plan, Share
from train.reading.shard_access import ShardAccess, Which
from train.reading.texts import Asked, Texts


@dataclass(frozen=True, eq=False)
class Room:
    """Where the tensors of up to B clips go.

    features_BFRV: float16, boxes_BFRK: float32, mask_BFR: bool.
    """

    features_BFRV: NDArray[np.float16]
    boxes_BFRK: NDArray[np.float32]
    mask_BFR: NDArray[np.bool_]

    def put(self, row: int, regions: Regions) -> None:
        """Completes a row whose features are in place: boxes and mask, and zeros where the clip has nothing."""
        f, r, _ = regions.features.shape
        features, boxes, mask = self.features_BFRV[row], self.boxes_BFRK[row], self.mask_BFR[row]
        features[f:], features[:f, r:] = 0, 0
        boxes[:], mask[:] = 0, False
        boxes[:f, :r] = regions.boxes[..., : boxes.shape[-1]]
        mask[:f, :r] = regions.mask


@dataclass(frozen=True)
class Part:
    """What a process read of one batch; the tensors of its rows are the first ones of a room.

    captions: one a clip, or none where ``questions``, which name their clips by row, are taken in their place.
    slots: how many samples it had to read. problems: the slots that stay empty, each with a line that says why.
    """

    source: int
    keys: tuple[str, ...]
    captions: tuple[str, ...]
    questions: tuple[Asked, ...]
    slots: int
    problems: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.keys)


class PartReader:
    """Reads a consumer's part of every batch, in order."""

    def __init__(self, plan: Plan, consumer: Consumer) -> None:
        self._plan, self._consumer = plan, consumer
        self._sizes = [source.sizes for source in plan.sources]
        self._ends = [np.cumsum(sizes) for sizes in self._sizes]
        self._shards = ShardAccess(plan.sources, plan.config.verify_hashes)

    @property
    def bytes_read(self) -> int:
        """Bytes that were read for samples so far; the shards' headers and hashes not included."""
        return self._shards.bytes_read

    def parts(self, epoch: int, start: int, room: Callable[[int], Room]) -> Iterator[Part]:
        """The parts of batches ``start`` to the last one of an epoch; ``room(slots)`` is asked for before each.

        Raises:
            InputError: a shard is gone, cut or changed, or a sample has no text of the kind that is taken.
        """
        try:
            for number, turns in self._plan.rounds(epoch, start):
                yield from self._round(number, turns, room)
        finally:
            self._shards.close()

    def in_order(self, most: int, batch_size: int, room: Callable[[int], Room]) -> Iterator[Part]:
        """The first ``most`` samples as they stand in the shards; a part is of one source.

        Each has its first caption; or, where questions are taken, all that are open-ended.

        Raises:
            InputError: as above.
        """
        try:
            for source, ends in enumerate(self._ends):
                texts = Texts(self._plan.config, source, None)
                samples = np.arange(min(most, int(self._sizes[source].sum())))
                most -= len(samples)
                shards = shard_of(ends, samples)
                numbers, counts = np.unique(shards, return_counts=True)
                self._shards.expect(Counter({(source, int(n)): int(c) for n, c in zip(numbers, counts, strict=True)}))
                for first in range(0, len(samples), batch_size):
                    taken = slice(first, first + batch_size)
                    draws = np.zeros((len(samples[taken]), self._plan.config.frames))
                    yield self._read(texts, samples[taken], draws, room(len(draws)))
        finally:
            self._shards.close()

    def _round(self, number: int, turns: list[tuple[int, int]], room: Callable[[int], Room]) -> Iterator[Part]:
        plan, config = self._plan, self._plan.config
        shares = {source: plan.share(source, number, self._consumer) for source in {turn[0] for turn in turns}}
        self._shards.expect(_wanted(turns, shares))
        for source, batch in turns:
            share = shares[source]
            draws = generator(config.seed, Draw.SAMPLES, source, number, batch)
            # One row a slot of the whole batch, whoever reads it: the draws do not depend on ranks and workers.
            rows = draws.random((plan.batch_sizes[source], config.frames))[share.rows[batch]]
            texts = Texts(config, source, number)
            yield self._read(texts, share.samples[batch], rows, room(len(rows)))

    def _read(self, texts: Texts, samples: NDArray[np.int64], draws: NDArray[np.float64], room: Room) -> Part:
        source, ends = texts.source, self._ends[texts.source]
        keys: list[str] = []
        captions: list[str] = []
        questions: list[Asked] = []
        problems: list[tuple[int, str]] = []
        shards = shard_of(ends, samples)
        places = samples - (ends - self._sizes[source])[shards]
        slots = zip(samples.tolist(), shards.tolist(), places.tolist(), strict=True)
        for slot, (sample, shard, place) in enumerate(slots):
            row = len(keys)
            try:
                found = self._take(texts, (source, shard), place, draws[slot], room, row)
            except SampleError as error:
                problems.append((slot, str(error)))
                continue
            keys.append(found.key)
            captions += texts.captions(found, sample)
            questions += texts.asked(found, sample, row)
        return Part(source, tuple(keys), tuple(captions), tuple(questions), len(samples), tuple(problems))

    def _take(self, texts: Texts, which: Which, place: int, draws: NDArray[np.float64], room: Room, row: int) -> Sample:
        """One sample, its tensors in a row of the room."""
        config = self._plan.config
        file = self._shards.get(which)
        try:
            key, regions, metadata = file.members(place)
            found = decode_frames(
                key,
                regions,
                metadata,
                lambda stored: select_frames(stored, config.frames, draws if config.draw_frames else None),
                room.features_BFRV[row],
            )
        except SampleError as error:
            raise error if file.shard.path.name in str(error) else error.inside(file.shard.path.name) from None
        finally:
            self._shards.done(which)
        lacking = texts.lacking(found)
        if lacking:
            raise InputError(f"{file.shard.path.name}: sample {key} has no {lacking}")
        room.put(row, found.regions)
        return found


def _wanted(turns: list[tuple[int, int]], shares: dict[int, Share]) -> Counter[Which]:
    """How many samples the batches to come take of each shard."""
    wanted: Counter[Which] = Counter()
    for source, share in shares.items():
        batches = [batch for of, batch in turns if of == source]
        shards, counts = np.unique(share.shards[batches], return_counts=True)
        wanted.update({(source, int(shard)): int(count) for shard, count in zip(shards, counts, strict=True)})
    return wanted
