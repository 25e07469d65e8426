"""Which sample comes when: a pure function of seed, round and the sizes of the shards.

An epoch is one or more rounds, counted through all epochs; a round takes each sample once. Samples of a source are
numbered through its shards in the index's order. A round permutes the shards, lays their samples end to end and cuts
them into lanes of equal length; each lane is shuffled within a window, and the lanes are interleaved: position s of
the round is the (s // K)-th sample of lane s % K, for K lanes. So a batch mixes all lanes,
and whoever takes the same lanes of each batch reads their shards alone. Lanes are no shorter than the window: a small
data set has one, and is shuffled as a whole.
Nothing here knows of ranks, workers, or of what can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import IntEnum
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray


class Draw(IntEnum):
    """What random numbers are drawn for; each use has a sequence of its own."""

    SHARDS = 0
    WINDOW = 1
    SUBSET = 2
    SAMPLES = 3


def generator(seed: int, draw: Draw, *numbers: int) -> np.random.Generator:
    """Random numbers that depend on these numbers alone."""
    return np.random.default_rng([seed, int(draw), *numbers])


def shard_of(ends: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """The shards that samples are in; ``ends[i]`` is the number of samples in shards 0 to i."""
    return np.searchsorted(ends, samples, side="right")


def subset_size(total: int, share: float) -> int:
    """How many of ``total`` samples a share is: rounded down in decimal, as it was written, and at least one."""
    return min(total, max(1, int(Decimal(repr(share)) * total)))


def in_subset(total: int, share: float, seed: int, source: int) -> NDArray[np.bool_]:
    """Which samples a share of a source is: those with the smallest of one random number each.

    So a smaller share is part of a larger one, and it is the same in every round.
    """
    chosen = np.argsort(generator(seed, Draw.SUBSET, source).random(total), kind="stable")[: subset_size(total, share)]
    mask = np.zeros(total, np.bool_)
    mask[chosen] = True
    return mask


def lane_count(count: int, lanes: int, window: int) -> int:
    """How many lanes ``count`` samples are cut into: at most ``lanes``, each as long as the window; at least one."""
    return max(1, min(lanes, count // window))


def round_order(
    sizes: NDArray[np.int64],
    seed: int,
    round_number: int,
    source: int,
    lanes: int,
    window: int,
    share: float = 1.0,
    neighbours: int = 1,
) -> NDArray[np.int64]:
    """The sample at each position of a round, int64 [n]; ``sizes`` are the samples in each shard of the source.

    A sample moves by less than ``window`` places within its lane. So many ``neighbours`` move together: samples
    0 to k - 1 of the source, k to 2k - 1 and so on, as far as they lie in one lane.
    """
    total = int(sizes.sum())
    permutation = generator(seed, Draw.SHARDS, source, round_number).permutation(len(sizes))
    permuted = sizes[permutation]
    first = (np.cumsum(sizes) - sizes)[permutation]  # of each shard, in the source's numbers
    laid = np.repeat(first - (np.cumsum(permuted) - permuted), permuted) + np.arange(total)
    if share < 1:
        laid = laid[in_subset(total, share, seed, source)[laid]]
    count = len(laid)
    lanes = lane_count(count, lanes, window)
    lengths = np.array([count // lanes + (lane < count % lanes) for lane in range(lanes)])
    lane = np.repeat(np.arange(lanes), lengths)
    jitter = generator(seed, Draw.WINDOW, source, round_number).random(count)
    place = np.arange(count)
    if neighbours > 1:  # all go by the first of them that is in the lane
        begins = np.concatenate([[True], (np.diff(laid // neighbours) != 0) | (np.diff(lane) != 0)])
        place = place[begins][np.cumsum(begins) - 1]
        jitter = jitter[place]
    # One sort for all lanes: they are further apart than any sample moves.
    shuffled = laid[np.argsort(place + jitter * window + lane * float(window), kind="stable")]
    return shuffled[_interleaved(lengths, count)]


def _interleaved(lengths: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Where in the lanes laid end to end each position's sample is; the longer lanes, which come first, end it."""
    position = np.arange(count)
    lane = position % len(lengths)
    return (np.cumsum(lengths) - lengths)[lane] + position // len(lengths)


def batch_slots(count: int, size: int, lanes: int, first: int, last: int) -> NDArray[np.int64]:
    """Positions in the round of slots ``first`` to ``last`` of each batch, int64 [batches, last - first].

    Batch b holds positions b*size to (b+1)*size, of ``count`` in all, sorted by lane: ``lanes`` is their real number.
    What is left over after the last whole batch is in none.
    """
    positions = np.arange(count // size * size, dtype=np.int64).reshape(-1, size)
    by_lane = np.argsort(positions % lanes, axis=1, kind="stable")[:, first:last]
    return np.take_along_axis(positions, by_lane, axis=1)


def share_of(count: int, part: int, parts: int) -> tuple[int, int]:
    """First and last (exclusive) of the ``part``-th of ``parts`` contiguous shares of ``count``, equal within one."""
    return count * part // parts, count * (part + 1) // parts


def turns(
    batches: Sequence[int], sizes: Sequence[int], most: int | None = None, rounds: int = 1
) -> list[tuple[int, int]]:
    """The batches of an epoch as (source, batch of that source): one of each in turn, the others when one runs out.

    ``batches[i]`` are those of source i a round, of ``sizes[i]`` samples each; in all ``rounds``, which follow one
    another, they hold ``most`` samples at most.
    """
    in_turn = sorted(((number, source) for source, count in enumerate(batches) for number in range(count)))
    taken: list[tuple[int, int]] = []
    samples = 0
    for number, source in chain.from_iterable(repeat(in_turn, rounds)):
        samples += sizes[source]
        if most is not None and samples > most:
            break
        taken.append((source, number))
    return taken
