"""What ffprobe says of a file, and which frame is on screen when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.failures import MediaError, Reason
from data_specs.media import Limits, opened
from data_specs.probe import Packets, Probe, probe
from tests.extract.clips import KINDS, make_clip, stated_duration

LIMITS = Limits()
HUNDREDTHS = st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True)
TIMES = HUNDREDTHS.map(lambda numbers: [number / 100 for number in sorted(numbers)])


def probe_of(shown_at: list[float], keys: list[bool] | None = None, container: str = "mov,mp4") -> Probe:
    """A file whose frames are decoded in the order they are shown in."""
    times = np.array(shown_at)
    unknown = np.full(len(times), -1)
    marked = np.array(keys if keys is not None else [True] * len(times))
    packets = Packets(times, times, marked, unknown, unknown)
    return Probe(container, "h264", 0, (720, 1280), (720, 1280), shown_at[-1] + 1, times, packets)


@given(shown_at=TIMES, time=st.floats(0, 1e4))
def test_frame_at_is_the_last_at_or_before(shown_at: list[float], time: float) -> None:
    before = [i for i, at in enumerate(shown_at) if at <= time + 1e-6]
    assert probe_of(shown_at).frame_at(time) == (before[-1] if before else 0)


@given(shown_at=TIMES, data=st.data())
def test_only_the_wanted_frame_lies_in_its_window(shown_at: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(shown_at) - 1))
    begin, end = probe_of(shown_at).window(index)
    assert [i for i, at in enumerate(shown_at) if begin <= at <= end] == [index]


def probe_clip(folder: Path, kind: str, limits: Limits = LIMITS) -> Probe:
    with opened(make_clip(folder / f"clip.{KINDS[kind].ending}", KINDS[kind], 0)) as descriptor:
        return probe(descriptor, limits)


@pytest.mark.parametrize(
    ("kind", "size", "shown_size"),
    [
        ("turned_90", (96, 128), (128, 96)),
        ("turned_180", (96, 128), (96, 128)),
        ("turned_270", (64, 96), (96, 64)),
        ("not_square", (96, 128), (96, 171)),
        ("odd_size", (75, 101), (75, 101)),
    ],
)
def test_the_size_is_as_viewers_see_it(
    tmp_path: Path, kind: str, size: tuple[int, int], shown_size: tuple[int, int]
) -> None:
    found = probe_clip(tmp_path, kind)
    assert (found.size, found.shown_size) == (size, shown_size)


def test_frames_are_listed_with_their_times(tmp_path: Path) -> None:
    found = probe_clip(tmp_path, "long_gop")
    np.testing.assert_allclose(found.shown_at, np.arange(30) / 10)
    assert found.end == pytest.approx(3.0)
    assert found.delayed and found.packets.keys.tolist() == [True] + [False] * 29
    assert found.packets.times.tolist() != sorted(found.packets.times.tolist())
    assert found.packets.decoded_at.tolist() == sorted(found.packets.decoded_at.tolist())


def test_a_transport_stream_does_not_crash_the_tool(tmp_path: Path) -> None:
    """A static ffprobe does, over the name of the programme, when it loads this machine's character sets."""
    assert len(probe_clip(tmp_path, "transport").shown_at) == 20


def test_a_wrong_duration_is_no_cut(tmp_path: Path) -> None:
    for kind in ("says_longer", "says_shorter"):
        assert probe_clip(tmp_path, kind).end == pytest.approx(2.0)


def test_a_cut_file_is_told_from_a_wrong_duration(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mp4", KINDS["faststart"], 0)
    stated_duration(0.1)(path)  # so that the number of frames alone tells
    path.write_bytes(path.read_bytes()[:-20])
    with opened(path) as descriptor, pytest.raises(MediaError) as caught:
        probe(descriptor, Limits())
    assert (caught.value.reason, caught.value.detail) == (
        Reason.TRUNCATED,
        "1 of 20 frames lie past the end of the file",
    )


def test_a_stretched_frame_counts_with_its_stretched_size(tmp_path: Path) -> None:
    assert probe_clip(tmp_path, "not_square", Limits(pixels=96 * 171)).shown_size == (96, 171)
    with pytest.raises(MediaError, match="171 x 96") as caught:
        probe_clip(tmp_path, "not_square", Limits(pixels=96 * 170))
    assert caught.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    "value",
    [
        b"0:0|width=9|height=9",
        b"0:0\\|width=9|height=",
        b"99999999999999:00:00",
        b"0:0|index=99999999|a",
        "٣:٣٣:٣٣".encode().ljust(20, b"\0"),
    ],
)
def test_a_tag_is_a_text_and_nothing_else(tmp_path: Path, value: bytes) -> None:
    """Matroska's DURATION is written by the file's author, and printed by the tool between fields of its own."""
    path = make_clip(tmp_path / "clip.mkv", KINDS["odd_size"], 0)
    data = path.read_bytes()
    at = data.index(b"DURATION") + 8
    at = data.index(b"00:00:0", at)
    path.write_bytes(data[:at] + value[:18].ljust(18, b"\0") + data[at + 18 :])
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
    assert (found.size, found.stream) == ((75, 101), 0)
