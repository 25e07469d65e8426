"""Sparse frames of a media file, decoded by an ffmpeg process that seeks to them.

The frame at a timestamp is the one a full decode shows then: the last that appears at or before it. The packet table
(``data_specs.probe``) says when frames appear and which keyframes they need, so nothing is decoded but what the codec
requires. Where that gives fewer frames than were asked for (an index that lies, say), the file is decoded from its
start, as a player would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason, last_words
from data_specs.manifest import Item
from data_specs.media import Completed, Limits, find_tool, opened, run_tool
from data_specs.probe import Probe, probe
from data_specs.seeking import Span, chosen, from_start, plan_spans
from extract.sampling import Sampling
from extract.skipping import without_unneeded

_MOST_FRAMES = 512  # of one process: an argument of a command may have 128 kB
_UNREADABLE = (ArithmeticError, LookupError, ValueError, OSError)  # what numbers that a file makes up can lead to
_DECODER_FRAMES = 20  # a decoder holds about so many; every span of a process has its own


@dataclass(frozen=True, eq=False)
class Frames:
    """images: uint8 [F, H, W, 3] RGB, upright and with square pixels. timestamps: seconds, when each appears."""

    images: NDArray[np.uint8]
    timestamps: tuple[float, ...]


def sample_frames(root: Path, item: Item, sampling: Sampling, limits: Limits) -> Frames:
    """The frames of the item's clip that ``sampling`` picks.

    A clip with fewer frames than asked repeats the nearest; the timestamps say so. An image is one frame.

    Raises:
        MediaError: with the reason the item gives none.
    """
    try:
        return _sample(root, item, sampling, limits)
    except _UNREADABLE as error:  # of a file that nobody foresaw, or a disk that fails: it costs its own row
        said = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        raise MediaError(Reason.DECODE_ERROR, f"reading it failed: {said}") from error


def _sample(root: Path, item: Item, sampling: Sampling, limits: Limits) -> Frames:
    with opened(root / item.path) as descriptor:
        found = probe(descriptor, limits)
        if item.media == "image":
            wanted = [0]
        else:
            start, end = _clip(item, found)
            wanted = [found.frame_at(time) for time in sampling.times(start, end, item.id)]
        distinct = sorted(set(wanted))
        images = decode(descriptor, found, distinct, limits)
        if distinct != wanted:
            images = images[[distinct.index(frame) for frame in wanted]]
        return Frames(images, tuple(float(found.shown_at[frame]) for frame in wanted))


def decode(descriptor: int, found: Probe, indices: Sequence[int], limits: Limits) -> NDArray[np.uint8]:
    """Frames ``indices`` (rising, of ``Probe.shown_at``) as uint8 [len(indices), H, W, 3] RGB.

    They are turned as the metadata ask and stretched to square pixels.

    Raises:
        MediaError: ``too_large`` before anything is decoded, ``decode_error`` when fewer frames came out.
    """
    height, width = found.shown_size
    if len(indices) * height * width * 3 > limits.output_bytes:
        raise MediaError(
            Reason.TOO_LARGE,
            f"{len(indices)} frames of {width} x {height} pixels take {len(indices) * height * width * 3} bytes,"
            f" at most {limits.output_bytes} are allowed",
        )
    parts = []
    for spans in _batches(plan_spans(found, indices), found, limits):
        count = sum(len(span.frames) for span in spans)
        with without_unneeded(descriptor, found, spans) as lighter:
            images, completed = _run(lighter, found, spans, limits)
        if len(images) != count and (lighter != descriptor or len(spans) > 1 or spans[0].seek is not None):
            whole = from_start([frame for span in spans for frame in span.frames], spans[-1].last)
            images, completed = _run(descriptor, found, [whole], limits)
        if len(images) != count:
            raise _fewer(len(images), count, completed)
        parts.append(images)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_tools(limits: Limits) -> None:
    """Takes two frames of a tiny clip, so that tools which do not work are not mistaken for media which do not.

    Raises:
        InputError: ffmpeg or ffprobe is absent or does not do what is asked of it.
    """
    made = run_tool(
        ffmpeg.input("testsrc=size=32x32:rate=5:duration=1", f="lavfi")
        .output("pipe:1", format="avi", vcodec="mpeg4")
        .global_args("-nostdin", "-v", "error")
        .compile(cmd=str(find_tool("ffmpeg"))),
        limits,
    )
    try:
        images = _first_and_last(made.stdout, limits)
    except MediaError as error:
        raise InputError(
            f"{find_tool('ffmpeg')} and {find_tool('ffprobe')} cannot be used: {error}; {made.stderr[-200:]}"
            " (ffmpeg 5.1 or newer is needed; without one on PATH, make setup brings its own)"
        ) from None
    if images.shape != (2, 32, 32, 3):
        raise InputError(f"{find_tool('ffmpeg')} gave frames of shape {images.shape}, not (2, 32, 32, 3)")


def _first_and_last(clip: bytes, limits: Limits) -> NDArray[np.uint8]:
    """Of a clip in memory: a file would stay behind if this process were killed."""
    descriptor = os.memfd_create("check", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(clip)
        found = probe(descriptor, limits)
        return decode(descriptor, found, [0, len(found.shown_at) - 1], limits)
    finally:
        os.close(descriptor)


def _clip(item: Item, found: Probe) -> tuple[float, float]:
    first = float(found.shown_at[0])
    start = first + (item.clip_start or 0.0)
    end = found.end if item.clip_end is None else min(first + item.clip_end, found.end)
    if end < start:
        raise MediaError(
            Reason.TRUNCATED,
            f"the clip from {item.clip_start} s to {item.clip_end} s lies past the end, {found.end:.3f} s",
        )
    return start, end


def _batches(spans: Sequence[Span], found: Probe, limits: Limits) -> Iterator[list[Span]]:
    """As many spans a process as its memory can hold decoders for, and its command arguments."""
    decoder = found.size[0] * found.size[1] * 3 // 2 * _DECODER_FRAMES
    most = max(limits.memory_bytes // 4 // decoder, 1)
    batch: list[Span] = []
    for span in spans:
        if len(batch) == most or sum(len(s.frames) for s in (*batch, span)) > _MOST_FRAMES:
            yield batch
            batch = []
        batch.append(span)
    yield batch


def _run(descriptor: int, found: Probe, spans: Sequence[Span], limits: Limits) -> tuple[NDArray[np.uint8], Completed]:
    """One process: the whole images that came out, [n, H, W, 3], of which the count is to be checked."""
    height, width = found.shown_size
    parts = [chosen(descriptor, found, span, limits).filter("scale", width, height) for span in spans]
    joined = parts[0] if len(parts) == 1 else ffmpeg.concat(*(part.filter("setpts", "0") for part in parts), v=1, a=0)
    command = (
        ffmpeg.output(joined, "pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", threads=1)
        .global_args("-nostdin", "-v", "error", "-copyts", "-filter_threads", "1", "-filter_complex_threads", "1")
        .compile(cmd=str(find_tool("ffmpeg")))
    )
    completed = run_tool(command, limits, descriptors=[descriptor])
    count = len(completed.stdout) // (height * width * 3)
    images = np.frombuffer(completed.stdout, np.uint8, count * height * width * 3)
    return images.reshape(count, height, width, 3), completed


def _fewer(images: int, wanted: int, completed: Completed) -> MediaError:
    return MediaError(Reason.DECODE_ERROR, f"{images} of {wanted} frames came out; {last_words(completed.stderr)}")
