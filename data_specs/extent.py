"""Whether a file ends before its outermost box does: a download that broke off, a disk that was full."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_NOT_STATED = b"\xff\xff\xff\xff"
_MOST_BOXES = 100_000  # a fragment a second for a day


def is_cut(descriptor: int, container: str) -> bool | None:
    """Compares the length that the container states with the file's; None where it states none.

    A file that was written to a pipe, where nobody could come back to fill in lengths, is not cut: what it says of its
    duration is as unfinished. ``container`` is ffprobe's format name.
    """
    names, length = container.split(","), os.fstat(descriptor).st_size
    for name, stated_end in _STATED_ENDS.items():
        if name in names:
            end = stated_end(descriptor, length)
            return None if end is None else end > length
    return None


def _boxes_end(descriptor: int, length: int) -> int | None:
    """ISO base media: a chain of boxes, each with its size in front. What is no box any more ends the chain."""
    at = 0
    for _ in range(_MOST_BOXES):
        header = os.pread(descriptor, 16, at) if at < length else b""
        if len(header) < 8 or not header[4:8].isalnum():
            break
        (size,) = struct.unpack_from(">I", header)
        if size == 0:  # up to the file's end, wherever that is
            return None
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack_from(">Q", header, 8)
        if size < 8:
            break
        at += size
    return at


def _chunks_end(descriptor: int, length: int) -> int:
    """RIFF: one chunk, and in files of more than a gigabyte several."""
    at = 0
    for _ in range(_MOST_BOXES):
        header = os.pread(descriptor, 8, at) if at < length else b""
        if len(header) < 8 or header[:4] != b"RIFF" or header[4:] == _NOT_STATED:
            break
        at += 8 + struct.unpack_from("<I", header, 4)[0]
    return at


def _segment_end(descriptor: int, length: int) -> int:
    """Matroska: a header element and a segment. An unknown size, as live streams have, is all ones."""
    at = 0
    for identifier in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        header = os.pread(descriptor, 12, at) if at < length else b""
        if header[:4] != identifier or len(header) < 5 or header[4] == 0:
            return 0
        width = 9 - header[4].bit_length()
        size = int.from_bytes(header[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if len(header) < 4 + width or size == (1 << 7 * width) - 1:
            return 0
        at += 4 + width + size
    return at


_STATED_ENDS: dict[str, Callable[[int, int], int | None]] = {
    "mov": _boxes_end,
    "avi": _chunks_end,
    "matroska": _segment_end,
}
