"""Which keyframe each wanted frame needs, and which frames share one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.probe import Packets, Probe
from data_specs.seeking import packet_of, plan_spans
from tests.data_specs.test_probe import probe_of


def every(count: int, gop: int, container: str = "mov,mp4") -> Probe:
    """Large frames, 25 a second, with a keyframe every ``gop``."""
    return probe_of([n / 25 for n in range(count)], [n % gop == 0 for n in range(count)], container)


def test_frames_of_one_group_share_a_seek() -> None:
    spans = plan_spans(every(200, 50), [10, 40, 60, 199])
    assert [(span.frames, span.first, span.last) for span in spans] == [
        ((10, 40), 0, 40),
        ((60,), 50, 60),
        ((199,), 150, 199),
    ]
    assert [span.seek for span in spans] == [None, pytest.approx(2.0, abs=0.01), pytest.approx(6.0, abs=0.01)]


def test_a_short_way_is_decoded_and_not_sought() -> None:
    assert len(plan_spans(every(200, 2), [10, 12, 14, 16])) == 1
    assert len(plan_spans(every(200, 2), [10, 60])) == 2


@pytest.mark.parametrize("container", ["gif", "mpeg", "h264", "webp_pipe"])
def test_where_seeks_cannot_be_trusted_there_are_none(container: str) -> None:
    (span,) = plan_spans(every(200, 10, container), [3, 150])
    assert (span.seek, span.frames, span.last) == (None, (3, 150), 150)


def test_a_keyframe_shown_later_is_not_where_to_begin() -> None:
    """An open group: two frames are decoded after a keyframe, shown before it, and need the group before as well."""
    times = np.array([0.0, 0.1, 0.2, 0.6, 0.4, 0.5, 0.7])
    keys = np.array([True, False, False, True, False, False, False])
    unknown = np.full(7, -1)
    packets = Packets(times, np.arange(7) / 10, keys, unknown, unknown)
    found = Probe("mov,mp4", "h264", 0, (4000, 4000), (4000, 4000), 0.8, np.sort(times), packets, delayed=True)
    assert packet_of(found, [3, 4, 5, 6]) == [4, 5, 3, 6]
    assert [span.first for span in plan_spans(found, [4])] == [0]
    assert [span.first for span in plan_spans(found, [5])] == [3]
    assert [(span.frames, span.first) for span in plan_spans(found, [4, 6])] == [((4, 6), 0)]


@given(
    gop=st.integers(1, 300),
    data=st.data(),
    container=st.sampled_from(["mov,mp4", "matroska,webm", "mpegts", "avi", "gif"]),
)
def test_spans_cover_what_is_wanted_once_and_in_order(gop: int, data: st.DataObject, container: str) -> None:
    found = every(400, gop, container)
    wanted = sorted(data.draw(st.sets(st.integers(0, 399), min_size=1, max_size=30)))
    spans = plan_spans(found, wanted)
    assert [frame for span in spans for frame in span.frames] == wanted
    for span in spans:
        assert found.packets.keys[span.first] and span.first <= span.frames[0] and span.last == span.frames[-1]
        assert (span.seek is None) == (span.first == 0)


def test_a_command_line_has_its_limits() -> None:
    spans = plan_spans(every(4096, 5000), list(range(4096)))
    assert max(len(span.frames) for span in spans) <= 256
    assert [frame for span in spans for frame in span.frames] == list(range(4096))
