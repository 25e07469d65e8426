from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.sampling import segment_middles

TIMES = st.floats(0, 1e5, allow_nan=False)


def test_middles_of_four_segments() -> None:
    assert segment_middles(0.0, 8.0, 4) == [1.0, 3.0, 5.0, 7.0]
    assert segment_middles(2.0, 4.0, 1) == [3.0]


@given(start=TIMES, length=st.floats(0.01, 1e5), frames=st.integers(1, 64))
def test_each_segment_has_one_timestamp(start: float, length: float, frames: int) -> None:
    times = segment_middles(start, start + length, frames)
    assert [int((t - start) / length * frames) for t in times] == list(range(frames))


@pytest.mark.parametrize(("start", "end", "frames"), [(0.0, 1.0, 0), (2.0, 1.0, 3)])
def test_nonsense_is_refused(start: float, end: float, frames: int) -> None:
    with pytest.raises(ValueError, match=r"at least 1|empty"):
        segment_middles(start, end, frames)
