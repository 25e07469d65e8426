from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.sampling import RULES, SEGMENT_RANDOM, Sampling

TIMES = st.floats(0, 1e5, allow_nan=False)


def test_middles_of_four_segments() -> None:
    assert Sampling(4).times(0.0, 8.0, "a") == [1.0, 3.0, 5.0, 7.0]
    assert Sampling(1).times(2.0, 4.0, "a") == [3.0]


@pytest.mark.parametrize("rule", RULES)
@given(start=TIMES, length=st.floats(0.01, 1e5), frames=st.integers(1, 64), seed=st.integers(), identifier=st.text())
def test_each_segment_has_one_moment(
    rule: str, start: float, length: float, frames: int, seed: int, identifier: str
) -> None:
    times = Sampling(frames, rule, seed).times(start, start + length, identifier)
    slack = 1e-9 * (start + length) / (length / frames)
    for segment, time in enumerate(times):
        assert segment - slack <= (time - start) / length * frames <= segment + 1 + slack


def test_random_moments_depend_on_seed_and_identifier() -> None:
    drawn = {
        (seed, identifier): tuple(Sampling(3, SEGMENT_RANDOM, seed).times(0.0, 3.0, identifier))
        for seed in range(20)
        for identifier in ("a", "b", "ü/…")
    }
    assert len(set(drawn.values())) == len(drawn)
    assert drawn == {(s, i): tuple(Sampling(3, SEGMENT_RANDOM, s).times(0.0, 3.0, i)) for s, i in drawn}


def test_random_moments_are_spread_evenly() -> None:
    first = sorted(Sampling(2, SEGMENT_RANDOM).times(0.0, 2.0, str(number))[0] for number in range(1000))
    assert max(abs(place - (rank + 0.5) / 1000) for rank, place in enumerate(first)) < 0.05  # Kolmogorov, p < 0.02


def test_random_moments_are_the_same_in_every_process() -> None:
    program = "from extract.sampling import Sampling; print(Sampling(4, 'segment-random', 7).times(0.0, 9.0, 'x'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{Sampling(4, SEGMENT_RANDOM, 7).times(0.0, 9.0, 'x')}\n"}


def test_the_provenance_tells_seeds_apart() -> None:
    assert Sampling(8).describe() == Sampling(8, seed=3).describe() == "segment-middles"
    assert Sampling(8, SEGMENT_RANDOM, 3).describe() == "segment-random seed 3"


@pytest.mark.parametrize(
    "make", [lambda: Sampling(0), lambda: Sampling(1, "all"), lambda: Sampling(3).times(2.0, 1.0, "a")]
)
def test_nonsense_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"at least 1|unknown|empty"):
        make()
