"""One frame of a media file as a small JPEG, for pages and not for models."""

from __future__ import annotations

from pathlib import Path

import ffmpeg

from data_specs.failures import MediaError, Reason
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool
from data_specs.probe import probe

STILL_LIMITS = Limits(wall_s=20.0, cpu_s=20, output_bytes=8 << 20)
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def still(path: Path, timestamp: float, width: int = 320, limits: Limits = STILL_LIMITS) -> bytes:
    """The frame that is on screen at ``timestamp`` (seconds, as shards store it), as JPEG bytes.

    It is scaled to at most ``width`` pixels across and never enlarged.

    Raises:
        MediaError: the file gives no frame, with the reason.
    """
    with opened(path) as descriptor:
        found = probe(descriptor, limits)
        seek, _ = found.window(found.frame_at(timestamp))
        moment = {} if seek is None else {"ss": f"{seek:.6f}"}
        command = (
            ffmpeg.input(descriptor_url(descriptor), threads=1, fflags="+genpts", **limits.input_arguments(), **moment)[
                str(found.stream)
            ]
            .filter("scale", f"min({width},iw)", -2)
            .output(
                "pipe:1", format="image2pipe", vcodec="mjpeg", pix_fmt="yuvj420p", vframes=1, threads=1, **{"q:v": 3}
            )
            .global_args("-nostdin", "-v", "error", "-filter_threads", "1")
            .compile(cmd=str(find_tool("ffmpeg")))
        )
        completed = run_tool(command, limits, descriptors=[descriptor])
    jpeg = completed.stdout
    if not (jpeg.startswith(_JPEG_START) and jpeg.endswith(_JPEG_END)):
        raise MediaError(Reason.DECODE_ERROR, f"no frame at {timestamp:.3f} s; {completed.stderr[-200:]}")
    return jpeg
