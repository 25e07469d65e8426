"""Sparse frames of a media file, decoded by one ffmpeg process that seeks to each of them.

The frame at a timestamp is the one a full decode shows then: the last that appears at or before it. The packet table
(``data_specs.probe``) says when frames appear, so each seek goes to just before the right one, and nothing between
the frames is decoded but what the codec needs.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason
from data_specs.manifest import Item
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool
from data_specs.probe import Probe, probe
from extract.sampling import segment_middles


@dataclass(frozen=True, eq=False)
class Frames:
    """images: uint8 [F, H, W, 3] RGB. timestamps: seconds, when each frame appears in the file."""

    images: NDArray[np.uint8]
    timestamps: tuple[float, ...]


def sample_frames(root: Path, item: Item, frames: int, limits: Limits) -> Frames:
    """The frames at the middles of ``frames`` equal segments of the item's clip.

    A clip with fewer frames than asked repeats the nearest; the timestamps say so. An image is one frame.

    Raises:
        MediaError: with the reason the item gives none.
    """
    with opened(root / item.path) as descriptor:
        found = probe(descriptor, limits)
        if item.media == "image":
            wanted = [0]
        else:
            start, end = _clip(item, found)
            wanted = [found.frame_at(time) for time in segment_middles(start, end, frames)]
        distinct = sorted(set(wanted))
        images = decode(descriptor, found, distinct, limits)
        rows = [distinct.index(frame) for frame in wanted]
        return Frames(images[rows], tuple(found.shown_at[frame] for frame in wanted))


def decode(descriptor: int, found: Probe, indices: list[int], limits: Limits) -> NDArray[np.uint8]:
    """Frames ``indices`` (rising, of the packet table) as uint8 [len(indices), H, W, 3] RGB.

    Raises:
        MediaError: fewer frames came out than were asked for, or none.
    """
    url, options = descriptor_url(descriptor), limits.input_arguments()
    inputs = []
    for index in indices:
        seek, until = found.window(index)
        moment = {} if seek is None else {"ss": f"{seek:.6f}"}
        source = ffmpeg.input(url, threads=1, fflags="+genpts", **options, **moment)[str(found.stream)]
        inputs.append(source.filter("trim", end=f"{until:.6f}").filter("trim", end_frame=1))
    joined = inputs[0] if len(inputs) == 1 else ffmpeg.concat(*(i.filter("setpts", "0") for i in inputs), v=1, a=0)
    command = (
        ffmpeg.output(
            joined, "pipe:1", format="image2pipe", vcodec="ppm", pix_fmt="rgb24", fps_mode="passthrough", threads=1
        )
        .global_args("-nostdin", "-v", "error", "-filter_threads", "1", "-filter_complex_threads", "1")
        .compile(cmd=str(find_tool("ffmpeg")))
    )
    completed = run_tool(command, limits, descriptors=[descriptor])
    images = _read_ppm_stream(completed.stdout)
    if len(images) != len(indices):
        reason = Reason.TRUNCATED if len(indices) > len(images) else Reason.DECODE_ERROR
        raise MediaError(reason, f"{len(images)} of {len(indices)} frames came out; {completed.stderr[-200:]}")
    return np.stack(images)


def check_tools(limits: Limits) -> None:
    """Takes two frames of a tiny clip, so that tools which do not work are not mistaken for media which do not.

    Raises:
        InputError: ffmpeg or ffprobe is absent or does not do what is asked of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.avi"
        made = run_tool(
            ffmpeg.input("testsrc=size=32x32:rate=5:duration=1", f="lavfi")
            .output(str(path), vcodec="mpeg4")
            .global_args("-nostdin", "-v", "error")
            .compile(cmd=str(find_tool("ffmpeg"))),
            limits,
        )
        try:
            found = sample_frames(path.parent, Item("check", path.name, "train"), 2, limits)
        except MediaError as error:
            raise InputError(
                f"{find_tool('ffmpeg')} and {find_tool('ffprobe')} cannot be used: {error}; {made.stderr[-200:]}"
                " (ffmpeg 5.1 or newer is needed; without one on PATH, make setup brings its own)"
            ) from None
    if found.images.shape != (2, 32, 32, 3):
        raise InputError(f"{find_tool('ffmpeg')} gave frames of shape {found.images.shape}, not (2, 32, 32, 3)")


def _clip(item: Item, found: Probe) -> tuple[float, float]:
    start = max(found.shown_at[0] + (item.clip_start or 0.0), found.shown_at[0])
    end = found.end if item.clip_end is None else min(found.shown_at[0] + item.clip_end, found.end)
    if end < start:
        raise MediaError(
            Reason.TRUNCATED,
            f"the clip from {item.clip_start} s to {item.clip_end} s lies past the end, {found.end:.3f} s",
        )
    return start, end


def _read_ppm_stream(data: bytes) -> list[NDArray[np.uint8]]:
    """Whole images of a stream of binary PPM files; a cut last one is left out, which the caller's count notices."""
    images, at = [], 0
    while at < len(data):
        header = data[at : at + 64].split(b"\n", 3)
        if len(header) < 4 or header[0] != b"P6" or header[2] != b"255":
            raise MediaError(Reason.DECODE_ERROR, "ffmpeg gave something that is not an image")
        width, height = (int(n) for n in header[1].split())
        at += sum(len(part) + 1 for part in header[:3])
        size = width * height * 3
        if at + size > len(data):
            break
        images.append(np.frombuffer(data, np.uint8, size, at).reshape(height, width, 3))
        at += size
    return images
