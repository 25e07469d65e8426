"""Leaves out of H.264 what nothing depends on.

A picture whose ``nal_ref_idc`` is 0 is no reference for any other (ITU-T H.264, 7.4.1): the frames that are wanted come
out the same without it. About half of the pictures of an ordinary file are of this kind. In a copy of the file that
lives in memory their slices are marked as filler, which every decoder passes over; the container stays as it is.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from data_specs.probe import Probe
from data_specs.seeking import Span, packet_of

_LARGEST = 128 << 20  # bytes of a file that is copied
_BYTES_A_PIXEL = 4  # copying so many costs less than decoding a pixel, by a wide margin
_MAPPING = 16 << 20  # and mapping the copy as much as copying this
_SLICE, _SEI, _DELIMITER, _FILLER = 1, 6, 9, 12
_LENGTH = 4  # bytes in front of each unit; files with shorter ones do not add up below, and are left alone


@contextmanager
def without_unneeded(descriptor: int, found: Probe, spans: Sequence[Span]) -> Iterator[int]:
    """Yields a descriptor of the file without the pictures that ``spans`` do not need, or the same one.

    It is the same where nothing is known to be superfluous, or leaving it out would cost more than decoding it.
    """
    size = os.fstat(descriptor).st_size
    candidates = _not_wanted(found, spans)
    pixels = len(candidates) * found.size[0] * found.size[1] // 2
    known = found.codec == "h264" and "mov" in found.container.split(",") and hasattr(os, "memfd_create")
    if not known or size > _LARGEST or not candidates or not _is_worth_it(pixels, size):
        yield descriptor
        return
    copy = os.memfd_create("media", os.MFD_CLOEXEC)
    try:
        at = _copy(descriptor, copy, size)
        with mmap.mmap(copy, at) as media:
            for packet in candidates:
                _leave_out(media, int(found.packets.positions[packet]), int(found.packets.sizes[packet]))
        yield copy
    finally:
        os.close(copy)


def _copy(source: int, target: int, size: int) -> int:
    """Copies the file and gives the number of bytes that came."""
    at = 0
    while at < size and (sent := os.sendfile(target, source, at, size - at)):
        at += sent
    os.lseek(target, 0, os.SEEK_SET)
    return at


def _is_worth_it(pixels: int, size: int) -> bool:
    return pixels * _BYTES_A_PIXEL > size + _MAPPING


def _not_wanted(found: Probe, spans: Sequence[Span]) -> list[int]:
    wanted = {packet for span in spans for packet in packet_of(found, span.frames)}
    times = {found.packets.times[packet] for packet in wanted}
    return [
        packet
        for span in spans
        for packet in range(span.first, span.last + 1)
        if packet not in wanted and found.packets.times[packet] not in times
    ]


def _leave_out(media: mmap.mmap, position: int, size: int) -> None:
    """Marks the packet's slices as filler if none of them is a reference and the packet is made as it should be."""
    if position < 0 or position + size > len(media):
        return
    slices, at, end = [], position, position + size
    while at + _LENGTH < end:
        header = media[at + _LENGTH]
        kind, reference = header & 0x1F, header & 0x60
        if kind not in (_SLICE, _SEI, _DELIMITER, _FILLER) or (reference and kind == _SLICE):
            return
        if kind == _SLICE:
            slices.append(at + _LENGTH)
        at += _LENGTH + int.from_bytes(media[at : at + _LENGTH], "big")
    if at == end:
        for place in slices:
            media[place] = _FILLER
