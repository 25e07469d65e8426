from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from data_specs.probe import Probe

HUNDREDTHS = st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True)
TIMES = HUNDREDTHS.map(lambda numbers: [number / 100 for number in sorted(numbers)])


def probe_of(shown_at: list[float]) -> Probe:
    return Probe("mp4", "h264", 0, (1, 1), shown_at[0], shown_at[-1] + 1, tuple(shown_at))


@given(shown_at=TIMES, time=st.floats(0, 1e4))
def test_frame_at_is_the_last_at_or_before(shown_at: list[float], time: float) -> None:
    before = [i for i, at in enumerate(shown_at) if at <= time + 1e-6]
    assert probe_of(shown_at).frame_at(time) == (before[-1] if before else 0)


@given(shown_at=TIMES, data=st.data())
def test_only_the_wanted_frame_lies_in_its_window(shown_at: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(shown_at) - 1))
    seek, until = probe_of(shown_at).window(index)
    begin = shown_at[0] + (seek or 0.0)
    inside = [i for i, at in enumerate(shown_at) if begin <= at < begin + until]
    assert inside == [index]
