"""One frame of a media file as a small JPEG, for pages and not for models."""

from __future__ import annotations

from pathlib import Path

from data_specs.failures import MediaError, Reason, last_words
from data_specs.media import Completed, Limits, find_tool, opened, run_tool
from data_specs.probe import Probe, probe
from data_specs.seeking import Span, chosen, from_start, plan_spans

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
        (span,) = plan_spans(found, [found.frame_at(timestamp)])
        completed = _run(descriptor, found, span, width, limits)
        if not _is_whole(completed.stdout) and span.seek is not None:
            completed = _run(descriptor, found, from_start(span.frames, span.last), width, limits)
    if not _is_whole(completed.stdout):
        raise MediaError(Reason.DECODE_ERROR, f"no frame at {timestamp:.3f} s; {last_words(completed.stderr)}")
    return completed.stdout


def _run(descriptor: int, found: Probe, span: Span, width: int, limits: Limits) -> Completed:
    shown_height, shown_width = found.shown_size
    across = min(width, shown_width)
    down = max(round(shown_height * across / shown_width / 2) * 2, 2)
    command = (
        chosen(descriptor, found, span, limits)
        .filter("scale", across, down)
        .output("pipe:1", format="image2pipe", vcodec="mjpeg", pix_fmt="yuvj420p", vframes=1, threads=1, **{"q:v": 3})
        .global_args("-nostdin", "-v", "error", "-copyts", "-filter_threads", "1", "-filter_complex_threads", "1")
        .compile(cmd=str(find_tool("ffmpeg")))
    )
    return run_tool(command, limits, descriptors=[descriptor])


def _is_whole(jpeg: bytes) -> bool:
    return jpeg.startswith(_JPEG_START) and jpeg.endswith(_JPEG_END)
