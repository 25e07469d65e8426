"""The paired bootstrap against a slow one, its sign, its nulls, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.comparison.paired import Outcomes, paired_difference


def outcomes(hits: list[float], videos: list[str] | None = None) -> Outcomes:
    names = tuple(videos or [f"v{i}" for i in range(len(hits))])
    return Outcomes(tuple(f"q{i}" for i in range(len(hits))), names, np.array(hits))


def test_the_difference_is_that_of_the_means() -> None:
    found = paired_difference(outcomes([1, 1, 0, 0.5]), outcomes([1, 0, 0, 0]))
    assert found.points == pytest.approx(37.5)
    assert found.interval[0] <= found.points <= found.interval[1]


def test_the_same_run_twice_differs_by_nothing() -> None:
    run = outcomes([1, 0, 0.25, 1])
    found = paired_difference(run, run)
    assert (found.points, found.interval, found.settled) == (0.0, (0.0, 0.0), False)


def test_a_better_run_is_above_whatever_the_order_of_its_queries() -> None:
    rng = np.random.default_rng(3)
    base = (rng.random(400) < 0.3).astype(float)
    better = np.maximum(base, rng.random(400) < 0.1)
    one, two = outcomes(better.tolist()), outcomes(base.tolist())
    turned = rng.permutation(400)
    shuffled = Outcomes(
        tuple(one.keys[i] for i in turned), tuple(one.videos[i] for i in turned), np.asarray(one.hit_Q)[turned]
    )
    found = paired_difference(one, two)
    assert found.settled and found.interval[0] > 0
    assert paired_difference(shuffled, two).points == pytest.approx(found.points)
    back = paired_difference(two, one)
    assert back.points == pytest.approx(-found.points) and back.interval[1] < 0


def test_pairing_narrows_and_agrees_with_a_slow_bootstrap() -> None:
    """500 videos with one to three questions; the slow one draws videos one by one."""
    rng = np.random.default_rng(5)
    videos = [f"v{b}" for b in range(500) for _ in range(1 + b % 3)]
    hard = np.repeat(rng.random(500) < 0.5, [1 + b % 3 for b in range(500)])
    one = np.where(hard, 0.0, rng.random(len(hard)) < 0.95).astype(float)
    two = np.where(hard, 0.0, rng.random(len(hard)) < 0.90).astype(float)
    found = paired_difference(outcomes(one.tolist(), videos), outcomes(two.tolist(), videos))

    rows = {video: [i for i, v in enumerate(videos) if v == video] for video in set(videos)}
    names = sorted(rows)
    means, apart = [], []
    for _ in range(1000):
        chosen = [i for b in rng.integers(500, size=500) for i in rows[names[b]]]
        means.append(100 * (one[chosen].mean() - two[chosen].mean()))
        apart.append(100 * one[chosen].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.interval == pytest.approx((low, high), abs=0.35)
    assert found.interval[1] - found.interval[0] < 0.7 * np.diff(np.quantile(apart, [0.025, 0.975]))[0]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=30))
def test_intervals_lie_within_the_possible(rows: list[tuple[float, float, int]]) -> None:
    videos = [f"v{video}" for _, _, video in rows]
    run, base = outcomes([a for a, _, _ in rows], videos), outcomes([b for _, b, _ in rows], videos)
    found = paired_difference(run, base, resamples=50)
    assert -100 - 1e-9 <= found.interval[0] <= found.interval[1] <= 100 + 1e-9
    assert paired_difference(run, base, resamples=50) == found


def test_other_queries_are_refused() -> None:
    run = outcomes([1, 0])
    with pytest.raises(ValueError, match="same queries"):
        paired_difference(run, outcomes([1, 0, 1]))
    with pytest.raises(ValueError, match="same queries"):
        paired_difference(run, Outcomes(("q0", "q9"), run.videos, run.hit_Q))
    with pytest.raises(ValueError, match="same queries"):
        paired_difference(run, Outcomes(("q0", "q0"), run.videos, run.hit_Q))
    with pytest.raises(ValueError, match="same videos"):
        paired_difference(run, outcomes([1, 0], ["v0", "v9"]))
