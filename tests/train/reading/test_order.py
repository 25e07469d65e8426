"""The order against a slow and obvious version, and what ranks and workers take of it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.reading.order import (
    Draw,
    batch_slots,
    generator,
    in_subset,
    lane_count,
    round_order,
    shard_of,
    share_of,
    subset_size,
    turns,
)
from train.reading.plan import Consumer

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=30)


def slow_order(sizes: list[int], seed: int, epoch: int, lanes: int, window: int) -> list[int]:
    """Lists of lists, by the words of the module."""
    shards = [[(shard, place) for place in range(size)] for shard, size in enumerate(sizes)]
    order = generator(seed, Draw.SHARDS, 0, epoch).permutation(len(sizes))
    laid = [sample for shard in order for sample in shards[shard]]
    jitter = (generator(seed, Draw.WINDOW, 0, epoch).random(len(laid)) * window).tolist()
    lanes = max(1, min(lanes, len(laid) // window))
    cut, at = [], 0
    for lane in range(lanes):
        length = len(laid) // lanes + (lane < len(laid) % lanes)
        places = sorted(range(length), key=lambda i: i + jitter[at + i])
        assert all(abs(place - i) < window for place, i in enumerate(places))
        cut.append([laid[at + i] for i in places])
        at += length
    mixed = [lane[turn] for turn in range(len(cut[0])) for lane in cut if turn < len(lane)]
    first = np.concatenate([[0], np.cumsum(sizes)])
    return [int(first[shard]) + place for shard, place in mixed]


@given(SIZES, st.integers(0, 9), st.integers(0, 3), st.integers(1, 40), st.sampled_from([1, 2, 7, 64, 2000]))
def test_the_order_is_the_slow_one(sizes: list[int], seed: int, epoch: int, lanes: int, window: int) -> None:
    order = round_order(np.array(sizes), seed, epoch, 0, lanes, window)
    assert order.tolist() == slow_order(sizes, seed, epoch, lanes, window)
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(SIZES, st.integers(0, 9), st.integers(1, 40), st.sampled_from([1, 7, 64]), st.integers(2, 9))
def test_neighbours_stay_together(sizes: list[int], seed: int, lanes: int, window: int, neighbours: int) -> None:
    """In a lane each run of them is whole: it is cut by the lanes' ends and the shards' alone."""
    order = round_order(np.array(sizes), seed, 0, 0, lanes, window, neighbours=neighbours).tolist()
    assert sorted(order) == list(range(sum(sizes)))
    real = lane_count(len(order), lanes, window)
    for lane in (order[lane::real] for lane in range(real)):
        runs = [[lane[0]]]
        for sample in lane[1:]:
            if sample // neighbours == runs[-1][-1] // neighbours and sample == runs[-1][-1] + 1:
                runs[-1].append(sample)
            else:
                runs.append([sample])
        places = {sample: place for place, sample in enumerate(lane)}
        ends = np.cumsum(sizes)
        for run in runs:
            for beside in (run[0] - 1, run[-1] + 1):
                same_run = 0 <= beside < len(order) and beside // neighbours == run[0] // neighbours
                same_shard = same_run and np.searchsorted(ends, beside, "right") == np.searchsorted(
                    ends, run[0], "right"
                )
                assert not (same_shard and beside in places)


def test_one_neighbour_changes_nothing() -> None:
    sizes = np.full(9, 7)
    assert (round_order(sizes, 3, 1, 0, 4, 8) == round_order(sizes, 3, 1, 0, 4, 8, neighbours=1)).all()


def test_epochs_seeds_and_sources_differ() -> None:
    sizes = np.full(20, 10)
    drawn = [round_order(sizes, *numbers, 4, 16).tolist() for numbers in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1))]
    assert len({tuple(order) for order in drawn}) == 4


@given(SIZES, st.integers(2, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_ranks_and_workers_share_every_batch(
    sizes: list[int], size: int, lanes: int, ranks: int, workers: int, seed: int
) -> None:
    """Shards of 1 to 50 samples: each takes part in every batch, and together they are the batch of one alone."""
    total = sum(sizes)
    size = min(size, total)
    order = round_order(np.array(sizes), seed, 0, 0, lanes, 8)
    real = lane_count(total, lanes, 8)
    whole = batch_slots(total, size, real, 0, size)
    assert len(whole) == total // size
    assert sorted(order[whole].reshape(-1).tolist()) == sorted(order[: total // size * size].tolist())
    assert all(sorted(row) == list(range(b * size, b * size + size)) for b, row in enumerate(whole.tolist()))
    assert (np.diff(whole % real, axis=1) >= 0).all()
    parts = [
        batch_slots(total, size, real, *Consumer(rank, ranks, worker, workers).slots(size))
        for rank in range(ranks)
        for worker in range(workers)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    assert np.concatenate(parts, axis=1).tolist() == whole.tolist()
    of_ranks = [last - first for first, last in (Consumer(rank, ranks).slots(size) for rank in range(ranks))]
    assert max(of_ranks) - min(of_ranks) <= 1


def test_whoever_takes_the_same_lanes_reads_their_shards_alone() -> None:
    sizes = np.full(64, 32)
    order = round_order(sizes, 0, 0, 0, 8, 16)
    shards = [
        set(shard_of(np.cumsum(sizes), order[batch_slots(len(order), 16, 8, *share_of(16, part, 4))]).reshape(-1))
        for part in range(4)
    ]
    assert [len(found) for found in shards] == [16] * 4 and len(set.union(*shards)) == 64


@given(st.integers(1, 500), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 9))
def test_a_smaller_subset_is_part_of_a_larger_one(total: int, one: float, other: float, seed: int) -> None:
    small, large = (in_subset(total, share, seed, 0) for share in sorted((one, other)))
    assert not (small & ~large).any()
    for share, mask in zip(sorted((one, other)), (small, large), strict=True):
        assert mask.sum() == subset_size(total, share) == max(1, math.floor(Fraction(repr(share)) * total))


@pytest.mark.parametrize(("share", "total", "taken"), [(0.29, 100, 29), (0.2, 10, 2), (0.01, 10, 1), (1.0, 7, 7)])
def test_a_share_is_taken_as_it_was_written(share: float, total: int, taken: int) -> None:
    assert subset_size(total, share) == taken  # 0.29 * 100 is 28.999999999999996


def test_every_epoch_of_a_subset_has_the_same_samples() -> None:
    sizes = np.array([5, 40, 1, 30])
    epochs = [round_order(sizes, 3, epoch, 0, 4, 8, 0.3) for epoch in range(3)]
    assert {tuple(sorted(order.tolist())) for order in epochs} == {
        tuple(np.flatnonzero(in_subset(76, 0.3, 3, 0)).tolist())
    }
    assert len({tuple(order.tolist()) for order in epochs}) == 3


def test_sources_take_turns_until_each_is_exhausted() -> None:
    assert turns([3, 1, 2], [4, 4, 4]) == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2)]
    assert turns([3, 1, 2], [4, 2, 4], most=14) == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert turns([3, 1], [4, 4], most=3) == []
    assert turns([0, 2], [0, 4]) == [(1, 0), (1, 1)]


def test_rounds_follow_one_another_until_the_epoch_is_full() -> None:
    a_round = [(0, 0), (1, 0), (0, 1)]
    assert turns([2, 1], [4, 3], rounds=3) == 3 * a_round
    assert turns([2, 1], [4, 3], most=15, rounds=3) == [*a_round, (0, 0)]
    assert turns([2, 1], [4, 3], most=8, rounds=3) == a_round[:2]
