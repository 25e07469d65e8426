"""What is left out of H.264 is no reference, is not wanted, and is left out of a copy alone."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_specs.failures import MediaError
from data_specs.media import Limits, find_tool, opened, run_tool
from data_specs.probe import Probe, probe
from data_specs.seeking import from_start, packet_of
from extract import skipping
from extract.frames import decode
from extract.skipping import without_unneeded

LIMITS = Limits()
SLICE, REFERENCE, SEI, KEY, FILLER = 0x01, 0x41, 0x06, 0x65, 0x0C


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipping, "_is_worth_it", lambda pixels, size: True)


def make_clip(path: Path, *arguments: str) -> Path:
    source = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=2", "-c:v", "libx264", "-bf", "3"]
    assert run_tool([str(find_tool("ffmpeg")), "-v", "error", *source, *arguments, str(path)], LIMITS).returncode == 0
    return path


def packet(*headers: int, length: int = 5) -> bytes:
    """Units of ``length`` bytes, each with its header and its size in front."""
    return b"".join(length.to_bytes(4, "big") + bytes([header]) + bytes(length - 1) for header in headers)


def left_out(data: bytes, position: int = 0, size: int | None = None) -> list[int]:
    """The headers of a packet's units afterwards."""
    with mmap.mmap(-1, len(data)) as media:
        media[:] = data
        skipping._leave_out(media, position, len(data) if size is None else size)
        return [media[at + 4] for at in range(0, len(data), 9)]


def test_slices_that_nothing_refers_to_become_filler() -> None:
    assert left_out(packet(SLICE)) == [FILLER]
    assert left_out(packet(SEI, SLICE, SLICE)) == [SEI, FILLER, FILLER]


@pytest.mark.parametrize("headers", [(REFERENCE,), (KEY,), (SLICE, REFERENCE), (0x02, SLICE), (SLICE, 0x07), (0x14,)])
def test_what_is_needed_or_unknown_stays(headers: Sequence[int]) -> None:
    assert left_out(packet(*headers)) == list(headers)


def test_a_packet_that_does_not_add_up_stays() -> None:
    whole = packet(SLICE, SLICE)
    for size in range(len(whole)):
        assert left_out(whole, size=size) == ([FILLER, SLICE] if size == 9 else [SLICE, SLICE]), size
    for position, size in ((-1, 18), (0, 19), (9, 10), (10**12, 5), (0, -1)):
        assert left_out(whole, position, size) == [SLICE, SLICE]
    assert left_out(packet(SLICE, length=5)[:-1] + b"\xff", size=9) == [FILLER]


def open_spans(found: Probe, wanted: list[int]) -> list:
    return [from_start(wanted, max(packet_of(found, wanted)))]


def test_much_is_left_out_and_the_frames_are_the_same(tmp_path: Path, always: None) -> None:
    path = make_clip(tmp_path / "clip.mp4", "-g", "250")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        wanted = [7, 8, 30, 45]
        with without_unneeded(descriptor, found, open_spans(found, wanted)) as lighter:
            assert lighter != descriptor
            assert len(probe(lighter, LIMITS).shown_at) == 50
            with pytest.raises(MediaError, match="of 50 frames came out"):
                decode(lighter, found, list(range(50)), LIMITS)  # so something was left out indeed
            some = decode(lighter, found, wanted, LIMITS)
        np.testing.assert_array_equal(some, decode(descriptor, found, list(range(50)), LIMITS)[wanted])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_other_files_are_taken_as_they_are(tmp_path: Path, always: None) -> None:
    for path in (make_clip(tmp_path / "clip.mkv"), make_clip(tmp_path / "clip.mp4", "-c:v", "mpeg4")):
        with opened(path) as descriptor:
            found = probe(descriptor, LIMITS)
            with without_unneeded(descriptor, found, open_spans(found, [30])) as lighter:
                assert lighter == descriptor


def test_small_frames_are_not_worth_a_copy(tmp_path: Path) -> None:
    with opened(make_clip(tmp_path / "clip.mp4")) as descriptor:
        found = probe(descriptor, LIMITS)
        with without_unneeded(descriptor, found, open_spans(found, [30])) as lighter:
            assert lighter == descriptor


def test_the_copy_is_gone_afterwards(tmp_path: Path, always: None) -> None:
    with opened(make_clip(tmp_path / "clip.mp4")) as descriptor:
        found = probe(descriptor, LIMITS)
        with without_unneeded(descriptor, found, open_spans(found, [30])) as lighter:
            pass
        assert not Path(f"/proc/self/fd/{lighter}").exists() or lighter == descriptor
