"""What is read: the sources, their batches an epoch, and which of them each process takes. Small, and picklable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from train.config import DataConfig
from train.reading.order import batch_slots, lane_count, round_order, shard_of, share_of, subset_size, turns
from train.reading.sources import Source


@dataclass(frozen=True)
class Consumer:
    """A worker of a rank: it takes its share of the rank's share of every batch."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def slots(self, size: int) -> tuple[int, int]:
        """First and last (exclusive) slot of a batch of ``size`` that are this worker's."""
        first, last = share_of(size, self.rank, self.ranks)
        low, high = share_of(last - first, self.worker, self.workers)
        return first + low, first + high


@dataclass(frozen=True)
class Share:
    """What a consumer takes of a source in a round: row b for batch b of the source.

    samples, shards: int64 [batches, slots], the samples' numbers in the source and their shards. rows: their places in
    the batch's random draws.
    """

    samples: NDArray[np.int64]
    shards: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The same on every rank and worker.

    Raises:
        InputError: too few samples for a contrast or for the ranks, or an epoch shorter than a batch.
    """

    config: DataConfig
    box_dim: int
    sources: tuple[Source, ...]

    def check(self, ranks: int) -> None:
        """Whether every rank has something of every batch.

        Raises:
            InputError: it has not, or there is no batch at all.
        """
        for source, taken, size in zip(self.sources, self.taken, self.batch_sizes, strict=True):
            if taken < 2:
                raise InputError(f"{source.folder}: {taken} samples are taken; a contrast needs at least 2")
            if size < ranks:
                where = "data.batch_size" if self.config.batch_size < ranks else str(source.folder)
                raise InputError(
                    f"{where}: {size} samples a batch, fewer than the {ranks} ranks, so some would have none;"
                    " start fewer ranks" + ("" if where != "data.batch_size" else " or raise data.batch_size")
                )
        if not self.turns:
            raise InputError(
                f"data.epoch_samples: {self.config.epoch_samples} is less than one batch of {self.batch_sizes[0]};"
                " raise it, or lower data.batch_size"
            )

    @property
    def feature_dim(self) -> int:
        """V, the width of all features."""
        return self.sources[0].provenance.feature_dim

    @cached_property
    def taken(self) -> tuple[int, ...]:
        """How many samples of each source a round orders: its subset."""
        return tuple(subset_size(source.samples, self.config.subset) for source in self.sources)

    @cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Samples a batch of each source, over all ranks: a source smaller than a batch is one batch."""
        return tuple(min(self.config.batch_size, taken) for taken in self.taken)

    @cached_property
    def batches(self) -> tuple[int, ...]:
        """Batches of each source a round."""
        sizes = zip(self.taken, self.batch_sizes, strict=True)
        return tuple(taken // size if size else 0 for taken, size in sizes)

    @cached_property
    def turns(self) -> list[tuple[int, int]]:
        """The batches of any epoch, of all its rounds in order, as (source, batch of that source in its round)."""
        return turns(self.batches, self.batch_sizes, self.config.epoch_samples, self.config.rounds)

    def rounds(self, epoch: int, start: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """The rounds of an epoch from its batch ``start`` on: the number of each, and its batches as in ``turns``.

        They are counted through all epochs. One that no epoch comes to, because of ``epoch_samples``, has no number.
        """
        whole = sum(self.batches)
        begun = -(-len(self.turns) // whole)
        for number in range(start // whole, begun):
            first = number * whole
            yield epoch * begun + number, self.turns[max(start, first) : first + whole]

    def share(self, source: int, round_number: int, consumer: Consumer) -> Share:
        """What a consumer takes of a source; of 2.5 M samples, half a second."""
        config, size = self.config, self.batch_sizes[source]
        sizes = self.sources[source].sizes
        lanes, window = config.lanes, config.shuffle_window
        order = round_order(sizes, config.seed, round_number, source, lanes, window, config.subset, config.neighbours)
        real = lane_count(len(order), lanes, window)
        positions = batch_slots(len(order), size, real, *consumer.slots(size))
        samples = order[positions]
        return Share(samples, shard_of(np.cumsum(sizes), samples), positions % size)
