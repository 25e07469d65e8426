"""Figures of retrieval: hand-worked matrices, brute force over all orders of the ties, and invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from evaluate import metrics


def best_ranks_in_every_order(scores: NDArray, right: NDArray) -> list[int]:
    """The rank of the first right candidate for every order of the candidates, by a stable sort."""
    ranks = []
    for order in itertools.permutations(range(len(scores))):
        by_score = sorted(order, key=lambda c: -scores[c])
        ranks.append(1 + next(place for place, c in enumerate(by_score) if right[c]))
    return ranks


@st.composite
def problems(draw: st.DrawFn) -> tuple[NDArray, NDArray, NDArray]:
    """Scores [Q, T] of few distinct values, the video of each query and of each candidate."""
    videos = draw(st.integers(1, 3))
    extra = draw(st.lists(st.integers(0, videos - 1), max_size=6 - videos))
    candidates = np.array(draw(st.permutations([*range(videos), *extra])))
    queries = np.arange(videos)
    values = st.sampled_from([-1.0, 0.0, 0.25, 1.0])
    row = st.lists(values, min_size=len(candidates), max_size=len(candidates))
    return np.array(draw(st.lists(row, min_size=videos, max_size=videos))), queries, candidates


@settings(max_examples=60)
@given(problems())
def test_expectations_equal_brute_force_over_all_tie_orders(problem: tuple[NDArray, NDArray, NDArray]) -> None:
    scores_QT, query_Q, candidate_T = problem
    ranking = metrics.rank(scores_QT, query_Q, candidate_T)
    for i, scores in enumerate(scores_QT):
        ranks = np.array(best_ranks_in_every_order(scores, candidate_T == query_Q[i]))
        assert_allclose(ranking.expected()[i], ranks.mean(), rtol=1e-12)
        assert ranking.optimistic()[i] == ranks.min()
        for k in range(1, len(scores) + 2):
            assert_allclose(ranking.within(k)[i], (ranks <= k).mean(), atol=1e-12)


@settings(max_examples=60)
@given(problems())
def test_figures_equal_the_brute_force_ones(problem: tuple[NDArray, NDArray, NDArray]) -> None:
    scores_QT, query_Q, candidate_T = problem
    orders_Q = [
        np.array(best_ranks_in_every_order(scores, candidate_T == wanted))
        for scores, wanted in zip(scores_QT, query_Q, strict=True)
    ]
    found = metrics.figures(metrics.rank(scores_QT, query_Q, candidate_T))
    recalls = [100 * np.mean([(ranks <= k).mean() for ranks in orders_Q]) for k in metrics.CUT_OFFS]
    assert [found[name] for name in metrics.RECALLS] == pytest.approx(recalls)
    assert found["GeoMean"] == pytest.approx(np.prod(recalls) ** (1 / 3))
    assert found["MeanR"] == pytest.approx(np.mean([ranks.mean() for ranks in orders_Q]))
    assert found["MedR"] == pytest.approx(np.median([ranks.mean() for ranks in orders_Q]))
    best = metrics.optimistic_figures(metrics.rank(scores_QT, query_Q, candidate_T))
    assert best["R@1"] == pytest.approx(100 * np.mean([ranks.min() == 1 for ranks in orders_Q]))


@settings(max_examples=60)
@given(problems(), st.randoms(use_true_random=False))
def test_order_of_candidates_and_queries_does_not_matter(problem: tuple, random: object) -> None:
    scores_QT, query_Q, candidate_T = problem
    rng = np.random.default_rng(random.getrandbits(32))
    rows, columns = rng.permutation(len(query_Q)), rng.permutation(len(candidate_T))
    straight = metrics.rank(scores_QT, query_Q, candidate_T)
    shuffled = metrics.rank(scores_QT[rows][:, columns], query_Q[rows], candidate_T[columns])
    assert metrics.figures(straight) == pytest.approx(metrics.figures(shuffled), abs=1e-9)
    assert_allclose(straight.expected()[rows], shuffled.expected())


def test_hand_worked_matrix() -> None:
    scores_QT = np.array([[0.9, 0.1, 0.2], [0.3, 0.3, 0.1], [0.5, 0.4, 0.3]])
    ranking = metrics.rank(scores_QT, np.arange(3), np.arange(3))
    assert ranking.expected().tolist() == [1.0, 1.5, 3.0]
    assert ranking.optimistic().tolist() == [1.0, 1.0, 3.0]
    found = metrics.figures(ranking)
    assert found["R@1"] == pytest.approx(50.0)  # 1, one half, 0
    assert found["R@5"] == found["R@10"] == pytest.approx(100.0)
    assert found["MedR"] == 1.5
    assert found["MeanR"] == pytest.approx(5.5 / 3)
    assert found["GeoMean"] == pytest.approx((50.0 * 100.0 * 100.0) ** (1 / 3))
    assert metrics.optimistic_figures(ranking)["R@1"] == pytest.approx(200 / 3)


def test_best_of_several_captions_by_hand() -> None:
    captions = np.array([0, 0, 1, 1])
    scores_QT = np.array([[0.5, 0.5, 0.5, 0.9], [0.8, 0.1, 0.2, 0.7]])
    ranking = metrics.rank(scores_QT, np.arange(2), captions)
    # video 0: one wrong caption above, then two right and one wrong in any order: the first right one is 4/3rd
    assert_allclose(ranking.expected(), [1 + 4 / 3, 2.0])
    assert_allclose(ranking.within(1), [0.0, 0.0])
    assert_allclose(ranking.within(2), [2 / 3, 1.0])


@pytest.mark.parametrize("candidates", [1, 7, 40])
def test_a_constant_matrix_gets_what_chance_gets(candidates: int) -> None:
    owners = np.arange(candidates)
    ranking = metrics.rank(np.full((candidates, candidates), 0.3), owners, owners)
    found = metrics.figures(ranking)
    for k in metrics.CUT_OFFS:
        assert found[f"R@{k}"] == pytest.approx(100.0 * min(k / candidates, 1.0))
    assert found["MedR"] == found["MeanR"] == (candidates + 1) / 2
    assert found == pytest.approx(metrics.figures(metrics.chance(ranking)))
    assert metrics.optimistic_figures(ranking)["R@1"] == 100.0


@settings(max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.floats(-2, 2, width=32))
def test_a_constant_matrix_with_several_right_candidates_gets_chance(right: list[int], score: float) -> None:
    queries, candidates = np.arange(len(right)), np.repeat(np.arange(len(right)), right)
    T = len(candidates)
    ranking = metrics.rank(np.full((len(right), T), score, np.float32), queries, candidates)
    found = metrics.figures(ranking)
    for k in metrics.CUT_OFFS:  # k of the T drawn, none of the p right ones among them
        missed = [math.comb(T - p, min(k, T)) / math.comb(T, min(k, T)) for p in right]
        assert found[f"R@{k}"] == pytest.approx(100 * (1 - np.mean(missed)))
    assert found["MeanR"] == pytest.approx(np.mean([(T + 1) / (p + 1) for p in right]))
    assert found == pytest.approx(metrics.figures(metrics.chance(ranking)))
    assert [metrics.optimistic_figures(ranking)[name] for name in metrics.RECALLS] == [100.0] * 3


def test_chance_with_several_right_candidates_is_a_constant_matrix() -> None:
    captions = np.array([0, 1, 1, 1, 2, 2])
    rng = np.random.default_rng(2)
    random = metrics.rank(rng.normal(size=(3, 6)), np.arange(3), captions)
    constant = metrics.rank(np.zeros((3, 6)), np.arange(3), captions)
    assert metrics.figures(metrics.chance(random)) == metrics.figures(constant)
    assert metrics.figures(constant)["R@1"] == pytest.approx(100 / 3)


def test_recall_curve_agrees_with_the_figures_and_never_falls() -> None:
    rng = np.random.default_rng(5)
    ranking = metrics.rank(rng.integers(0, 6, (30, 30)).astype(float), np.arange(30), np.arange(30))
    curve = metrics.recall_curve(ranking, np.arange(1, 31))
    assert (np.diff(curve) >= -1e-9).all()
    assert curve[-1] == pytest.approx(100.0)
    assert curve[[0, 4, 9]] == pytest.approx([metrics.figures(ranking)[name] for name in metrics.RECALLS])


@pytest.mark.parametrize(
    ("scores", "queries", "candidates", "problem"),
    [
        (np.zeros((2, 2)), np.arange(3), np.arange(2), "for 3 queries"),
        (np.array([[np.nan, 0.0]]), np.array([0]), np.arange(2), "finite"),
        (np.zeros((1, 2)), np.array([7]), np.arange(2), "none of the candidates is right"),
    ],
)
def test_refuses_what_cannot_be_ranked(scores: NDArray, queries: NDArray, candidates: NDArray, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        metrics.rank(scores, queries, candidates)


def slow_interval(ranking: metrics.Ranking, group_Q: NDArray, resamples: int, seed: int) -> dict[str, tuple]:
    """The bootstrap written out: draw groups, take all their queries as often as drawn, compute, take quantiles."""
    rng, groups = np.random.default_rng(seed), np.unique(group_Q)
    found = []
    for _ in range(resamples):
        drawn = groups[rng.integers(len(groups), size=len(groups))]
        rows = np.concatenate([np.flatnonzero(group_Q == group) for group in drawn])
        columns = (c[rows] for c in (ranking.above_Q, ranking.tied_Q, ranking.best_Q, ranking.right_Q))
        part = metrics.Ranking(*columns, ranking.candidates)
        found.append(metrics.figures(part))
    return {name: tuple(np.quantile([f[name] for f in found], [0.025, 0.975])) for name in metrics.FIGURES}


def test_intervals_equal_the_bootstrap_written_out() -> None:
    rng = np.random.default_rng(0)
    query_Q = np.array([0, 0, 0, 1, 2, 2, 3, 4])
    ranking = metrics.rank(rng.integers(0, 4, (8, 5)).astype(float), query_Q, np.arange(5))
    fast = metrics.intervals(ranking, query_Q, resamples=40, seed=3)
    slow = slow_interval(ranking, query_Q, 40, 3)
    for name in metrics.FIGURES:
        assert fast[name] == pytest.approx(slow[name])


def test_intervals_are_seeded_and_hold_the_figure() -> None:
    rng = np.random.default_rng(1)
    scores_QT = rng.normal(size=(200, 200)) + 2.0 * np.eye(200)
    ranking = metrics.rank(scores_QT, np.arange(200), np.arange(200))
    one, same = (metrics.intervals(ranking, np.arange(200), resamples=300, seed=7) for _ in range(2))
    assert one == same
    for name, value in metrics.figures(ranking).items():
        assert one[name][0] <= value <= one[name][1]
    standard_error = 100 * np.sqrt(0.25 / 200)
    assert one["R@1"][1] - one["R@1"][0] < 5 * standard_error
