"""Whether a file ends before its outermost box does."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from data_specs.extent import is_cut
from tests.extract.clips import KINDS, make_clip


def cut(data: bytes, container: str) -> bool | None:
    descriptor = os.memfd_create("file")
    try:
        os.write(descriptor, data)
        return is_cut(descriptor, container)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("kind", "container"), [("faststart", "mov,mp4"), ("live", "mov,mp4"), ("av1", "matroska,webm"), ("mpeg4", "avi")]
)
def test_every_cut_is_noticed_and_a_whole_file_is_none(tmp_path: Path, kind: str, container: str) -> None:
    whole = make_clip(tmp_path / f"clip.{KINDS[kind].ending}", KINDS[kind], 0).read_bytes()
    assert cut(whole, container) is False
    last_box = whole.rindex(b"mdat") if kind == "live" else 200  # a live file may end between two fragments
    for length in range(last_box + 8, len(whole), 97):
        assert cut(whole[:length], container) is True, length


def test_an_unknown_length_is_no_cut(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "clip.mkv", KINDS["live_matroska"], 0).read_bytes()
    assert cut(whole[: len(whole) // 2], "matroska,webm") is False
    assert cut(struct.pack(">I4s", 0, b"mdat") + bytes(9), "mov,mp4") is None
    assert cut(b"RIFF\xff\xff\xff\xffAVI ", "avi") is False
    assert cut(whole, "mpegts") is None


def test_boxes_longer_than_four_gigabytes() -> None:
    box = struct.pack(">I4sQ", 1, b"mdat", 5 << 30)
    assert cut(box, "mov,mp4") is True
    assert cut(struct.pack(">I4sQ", 1, b"mdat", 24) + bytes(8), "mov,mp4") is False


@pytest.mark.parametrize("data", [b"", b"\0", b"RIFF", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\0", b"\xff" * 64])
@pytest.mark.parametrize("container", ["mov,mp4", "matroska,webm", "avi"])
def test_what_is_no_box_ends_the_chain(data: bytes, container: str) -> None:
    assert not cut(data, container)


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, (1 << 63) - 1])
def test_sizes_that_no_file_can_have(size: int) -> None:
    assert cut(struct.pack(">I4sQ", 1, b"free", size) + bytes(99), "mov,mp4") is True
    two = struct.pack(">I4sQ", 1, b"mdat", 24) + bytes(8) + struct.pack(">I4sQ", 1, b"free", size)
    assert cut(two, "mov,mp4") is True
