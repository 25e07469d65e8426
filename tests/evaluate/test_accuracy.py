"""Accuracies: hand-worked scores, brute force over all orders of the ties, and invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_specs.annotations.answers import most_frequent
from evaluate import accuracy

VALUES = st.sampled_from([-1.0, 0.0, 0.25, 1.0])
CHOICES = st.lists(
    st.lists(VALUES, min_size=1, max_size=5).flatmap(
        lambda scores: st.tuples(st.just(scores), st.integers(-1, len(scores) - 1))
    ),
    min_size=1,
    max_size=6,
)
Choice = tuple[list[float], int]


def picks_of(choices: list[Choice]) -> accuracy.Picks:
    scores_QK = accuracy.padded([np.array(scores, np.float32) for scores, _ in choices])
    return accuracy.pick(scores_QK, np.array([label for _, label in choices]))


def rightness_in_every_order(scores: list[float], label: int) -> list[bool]:
    """Whether the first of the best is the right one, for every order in which the options may stand."""
    orders = itertools.permutations(range(len(scores)))
    return [max(order, key=lambda option: scores[option]) == label for order in orders]


@settings(max_examples=60)
@given(CHOICES)
def test_expectations_equal_brute_force_over_all_tie_orders(choices: list[Choice]) -> None:
    picks = picks_of(choices)
    for q, (scores, label) in enumerate(choices):
        right = rightness_in_every_order(scores, label)
        assert picks.expected()[q] == pytest.approx(np.mean(right), abs=1e-12)
        assert picks.optimistic()[q] == max(right)
        assert scores[picks.first_Q[q]] == max(scores)


@settings(max_examples=60)
@given(CHOICES, st.integers(0, 2**32 - 1))
def test_order_of_questions_and_options_does_not_matter(choices: list[Choice], seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos = np.arange(len(choices)) // 2
    order = rng.permutation(len(choices))
    shuffled: list[Choice] = []
    for q in order:
        scores, label = choices[q]
        places = rng.permutation(len(scores))
        shuffled.append(([scores[p] for p in places], -1 if label < 0 else int(np.flatnonzero(places == label)[0])))
    one, other = picks_of(choices), picks_of(shuffled)
    assert one.expected()[order].tolist() == other.expected().tolist()
    assert accuracy.percent(one.optimistic()) == pytest.approx(accuracy.percent(other.optimistic()))
    bounds = [
        accuracy.interval(correct, of, resamples=20)
        for correct, of in ((one.expected(), videos), (other.expected(), videos[order]))
    ]
    assert bounds[0] == bounds[1]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.floats(-2, 2, width=32), st.data())
def test_a_constant_score_gets_chance_exactly(sizes: list[int], score: float, data: st.DataObject) -> None:
    labels = [data.draw(st.integers(0, size - 1)) for size in sizes]
    picks = picks_of([([score] * size, label) for size, label in zip(sizes, labels, strict=True)])
    assert accuracy.percent(picks.expected()) == accuracy.chance(np.array(sizes))
    assert accuracy.percent(picks.optimistic()) == 100.0


def test_hand_worked_choices() -> None:
    picks = picks_of([([0.2, 0.9, 0.1], 1), ([0.5, 0.5], 0), ([0.3, 0.1, 0.3, 0.3], 1), ([0.1, 0.7], -1)])
    assert picks.expected().tolist() == [1.0, 0.5, 0.0, 0.0]
    assert picks.optimistic().tolist() == [1.0, 1.0, 0.0, 0.0]
    assert picks.first_Q.tolist() == [1, 0, 0, 1]
    assert picks.tied_Q.tolist() == [1, 2, 3, 1]
    assert accuracy.percent(picks.expected()) == 37.5


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        (np.zeros((2, 2)), [0], "labels"),
        (np.zeros((2, 0)), [0, 0], "labels"),
        (np.array([[math.nan, 1.0]]), [1], "1 of 1 questions"),
        (np.array([[math.inf, 1.0]]), [1], "1 of 1 questions"),
        (np.full((1, 2), -math.inf), [1], "1 of 1 questions"),
        (np.zeros((1, 2)), [2], "labels from 2 to 2"),
        (np.zeros((1, 2)), [-2], "labels from -2"),
    ],
)
def test_refuses_what_cannot_be_picked_from(scores: NDArray, labels: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        accuracy.pick(scores, np.array(labels))


def slow_interval(correct_Q: NDArray, video_Q: NDArray, resamples: int, seed: int) -> tuple[float, float]:
    """The bootstrap written out: draw videos, take all their questions as often as drawn, average, take quantiles."""
    rng, videos, found = np.random.default_rng(seed), np.unique(video_Q), []
    for _ in range(resamples):
        drawn = videos[rng.integers(len(videos), size=len(videos))]
        found.append(100 * np.concatenate([correct_Q[video_Q == video] for video in drawn]).mean())
    low, high = np.quantile(found, [0.025, 0.975])
    return low, high


def test_intervals_equal_the_bootstrap_written_out() -> None:
    rng = np.random.default_rng(0)
    video_Q = np.array([7, 7, 7, 2, 9, 9, 4])
    correct_Q = rng.choice([0.0, 1 / 3, 0.5, 1.0], 7)
    assert accuracy.interval(correct_Q, video_Q, resamples=50, seed=3) == pytest.approx(
        slow_interval(correct_Q, video_Q, 50, 3)
    )


def test_questions_of_one_video_widen_the_interval() -> None:
    """400 questions that agree within each of 20 videos say no more than 20."""
    correct_Q = np.repeat(np.arange(20) % 2, 20).astype(float)
    apart, together = (accuracy.interval(correct_Q, of) for of in (np.arange(400), np.repeat(np.arange(20), 20)))
    assert together[1] - together[0] > 3 * (apart[1] - apart[0])
    assert together == pytest.approx(
        (50 - 1.96 * 100 * math.sqrt(0.25 / 20), 50 + 1.96 * 100 * math.sqrt(0.25 / 20)), abs=5
    )


def test_groups_stand_by_size_then_name() -> None:
    found = accuracy.groups(["b", "a", "", "b", "a", "c"])
    assert [(name, rows.tolist()) for name, rows in found.items()] == [
        ("a", [1, 4]),
        ("b", [0, 3]),
        ("c", [5]),
        ("not given", [2]),
    ]


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("what is a man doing?", "what"),
        ("What's that", "what"),
        ("WHO sings?", "who"),
        ("  “whose dog”", "whose"),
        ("how many people are there?", "how many"),
        ("how is the weather", "how"),
        ("How  Many?", "how many"),
        ("how", "how"),
        ("howl at what", "other"),
        ("is the man running?", "is/does"),
        ("Did it rain", "is/does"),
        ("in what year", "other"),
        ("", "other"),
        ("?!", "other"),
    ],
)
def test_the_word_that_a_question_starts_with(question: str, word: str) -> None:
    assert accuracy.question_word(question) == word


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcdef")), min_size=1, max_size=30))
def test_confusion_counts_each_question_once(pairs: list[tuple[str, str]]) -> None:
    answers, predicted = zip(*pairs, strict=True)
    shown = most_frequent(answers, 3)
    counts = accuracy.confusion(answers, predicted, shown)
    for i, answer in enumerate(shown):
        for j, given_answer in enumerate(shown):
            assert counts[i, j] == pairs.count((answer, given_answer))
        assert counts[i].sum() == answers.count(answer)
    assert sorted(shown, key=lambda answer: (-answers.count(answer), answer)) == list(shown)
    assert all(answers.count(a) <= answers.count(shown[-1]) for a in answers if a not in shown)
