"""A clip's texts take turns: each equally often, in an order that only seed, source, clip and cycle decide."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.reading.texts import in_turn

NUMBERS = st.integers(0, 10**9)


@given(st.integers(1, 40), st.integers(0, 99), NUMBERS, NUMBERS, NUMBERS)
def test_in_n_rounds_each_of_n_texts_has_its_turn(texts: int, cycle: int, seed: int, source: int, sample: int) -> None:
    rounds = range(cycle * texts, (cycle + 1) * texts)
    taken = [in_turn(texts, 1, number, seed, source, sample) for number in rounds]
    assert sorted(text for (text,) in taken) == list(range(texts))


@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 3), NUMBERS)
def test_several_a_round_are_as_even_and_never_the_same(texts: int, most: int, seed: int, sample: int) -> None:
    """After any number of rounds no text was taken twice more often than another; after a cycle all were as often."""
    cycle = texts // math.gcd(texts, min(texts, most))
    taken: Counter[int] = Counter(dict.fromkeys(range(texts), 0))
    for number in range(3 * cycle):
        a_round = in_turn(texts, most, number, seed, 0, sample)
        assert len(a_round) == len(set(a_round)) == min(texts, most)
        taken.update(a_round)
        assert set(taken) == set(range(texts)) and max(taken.values()) - min(taken.values()) <= 1
        if (number + 1) % cycle == 0:
            assert len(set(taken.values())) == 1


def test_the_order_differs_with_seed_source_sample_and_cycle() -> None:
    def order(seed: int, source: int, sample: int, cycle: int) -> tuple[int, ...]:
        rounds = range(cycle * 97, (cycle + 1) * 97)
        return tuple(in_turn(97, 1, number, seed, source, sample)[0] for number in rounds)

    orders = [order(*numbers) for numbers in ((1, 2, 3, 4), (0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0))]
    assert len(set(orders)) == 5 and order(1, 2, 3, 4) == orders[0]


@pytest.mark.parametrize("texts", [2, 3, 6])
def test_no_text_is_preferred(texts: int) -> None:
    """Of many clips, in one round: each text is taken by as many, within four standard deviations; and after each
    comes each other."""
    many = 6000
    taken = [[in_turn(texts, 1, number, 0, 0, sample)[0] for number in range(2)] for sample in range(many)]
    for number in range(2):
        counts = Counter(pair[number] for pair in taken)
        assert all(abs(counts[text] - many / texts) < 4 * math.sqrt(many / texts) for text in range(texts))
    steps = {(after - before) % texts for before, after in taken}
    assert steps == {step for step in range(1, texts) if math.gcd(step, texts) == 1}


def test_a_reading_process_needs_no_torch() -> None:
    script = "import sys, train.reading.parts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3]).returncode == 0
