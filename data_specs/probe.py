"""What a media file holds: its size and the exact times at which its frames are shown."""

from __future__ import annotations

import bisect
import io
import math
import re
from dataclasses import dataclass, replace

from data_specs.failures import MediaError, Reason
from data_specs.media import Completed, Limits, descriptor_url, find_tool, run_tool

_ENTRIES = (
    "packet=pts_time,dts_time,duration_time,flags:stream=index,codec_name,width,height,duration:stream_tags=DURATION"
    ":format=format_name,start_time"
)


_OUTPUT_BYTES = 64 << 20  # the packet table of a day of video
_CUT_S = 0.5  # a file whose packets end this much before its stream's stated end was cut


@dataclass(frozen=True)
class Probe:
    """The first real video stream of a file (cover art does not count).

    stream: its index in the file. shown_at: seconds, rising, when each frame is shown first. end: seconds, when the
    last one stops being shown. start: seconds, the container's first timestamp; seeks are relative to it.
    size: (height, width) as coded, in pixels, before any rotation that the metadata ask for.
    """

    container: str
    codec: str
    stream: int
    size: tuple[int, int]
    start: float
    end: float
    shown_at: tuple[float, ...]

    def frame_at(self, time: float) -> int:
        """The index of the frame on screen at ``time``, in seconds: the last shown at or before it, else the first."""
        return max(bisect.bisect_right(self.shown_at, time + 1e-6) - 1, 0)

    def window(self, index: int) -> tuple[float | None, float]:
        """Where to seek so that frame ``index`` is the first to come out, and when, after the seek, it is gone again.

        In seconds; the seek counts from the container's start (None: no seek), half-way between the frame and its
        neighbours, so that rounding cannot matter and no other frame can pass for it.
        """
        seek = None
        if index > 0:
            seek = max((self.shown_at[index - 1] + self.shown_at[index]) / 2 - self.start, 0.0)
        following = self.shown_at[index + 1] if index + 1 < len(self.shown_at) else self.shown_at[index] + 2.0
        return seek, (self.shown_at[index] + following) / 2 - self.start - (seek or 0.0)


def probe(descriptor: int, limits: Limits) -> Probe:
    """Reads the packet table of an opened media file (see ``media.opened``) without decoding it.

    Raises:
        MediaError: not media, a container outside the whitelist, no video stream, cut off, or too large.
    """
    arguments = [str(find_tool("ffprobe")), "-v", "error", "-threads", "1", "-fflags", "+genpts"]
    for name, value in limits.input_arguments().items():
        arguments += [f"-{name}", str(value)]
    arguments += ["-select_streams", "V:0", "-show_entries", _ENTRIES, "-of", "compact", descriptor_url(descriptor)]
    bounded = replace(limits, output_bytes=min(limits.output_bytes, _OUTPUT_BYTES))
    completed = run_tool(arguments, bounded, descriptors=[descriptor])
    packets, stream, container = _sections(completed.stdout)
    if container is None:
        raise _unreadable(completed)
    if stream is None or stream.get("codec_name") in (None, "unknown"):
        raise MediaError(Reason.NO_VIDEO_STREAM, f"a {container['format_name']} file without a video stream")
    height, width = _integer(stream.get("height")), _integer(stream.get("width"))
    if height * width > limits.pixels:
        raise MediaError(Reason.TOO_LARGE, f"frames of {width} x {height} pixels, at most {limits.pixels} are decoded")
    if not packets.shown_at or height * width == 0:
        raise MediaError(Reason.TRUNCATED, completed.stderr or "a video stream without any frame")
    shown_at = tuple(sorted(packets.shown_at))
    _refuse_cut(stream, shown_at, packets.end)
    start = _seconds(container.get("start_time"))
    return Probe(
        container=container["format_name"],
        codec=stream["codec_name"],
        stream=_integer(stream.get("index")),
        size=(height, width),
        start=shown_at[0] if start is None else start,
        end=packets.end,
        shown_at=shown_at,
    )


class _Packets:
    """Times of a stream's frames, taken up one packet line at a time."""

    def __init__(self) -> None:
        self.shown_at: set[float] = set()
        self.end = -math.inf

    def add(self, fields: dict[str, str]) -> None:
        time = _seconds(fields.get("pts_time"))
        if time is None:
            time = _seconds(fields.get("dts_time"))
        if time is None or "D" in fields.get("flags", ""):
            return
        self.shown_at.add(time)
        self.end = max(self.end, time + (_seconds(fields.get("duration_time")) or 0.0))


def _sections(output: bytes) -> tuple[_Packets, dict[str, str] | None, dict[str, str] | None]:
    packets, stream, container = _Packets(), None, None
    for line in io.BytesIO(output):
        name, *pairs = line.decode("utf-8", errors="replace").rstrip().split("|")
        fields = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if name == "packet":
            packets.add(fields)
        elif name == "stream":
            stream = stream or fields
        elif name == "format":
            container = fields
    return packets, stream, container


def _refuse_cut(stream: dict[str, str], shown_at: tuple[float, ...], end: float) -> None:
    length, last = _seconds(stream.get("duration")), _clock(stream.get("tag:DURATION"))
    if length is not None:
        last = shown_at[0] + length
    if last is None:  # Matroska's tag is when the last frame ends; other containers say how long the stream is
        return
    frame = (shown_at[-1] - shown_at[0]) / max(len(shown_at) - 1, 1)
    if last - end > max(_CUT_S, 2 * frame):
        raise MediaError(Reason.TRUNCATED, f"the stream should end at {last:.2f} s, the file ends at {end:.2f} s")


def _unreadable(completed: Completed) -> MediaError:
    stderr = completed.stderr
    if completed.returncode < 0:
        return MediaError(Reason.DECODE_ERROR, f"ffprobe died of signal {-completed.returncode}; {_tail(stderr)}")
    if "not on whitelist" in stderr or "not in whitelist" in stderr:
        return MediaError(Reason.UNSUPPORTED_FORMAT, _tail(stderr))
    if "max pixel count" in stderr:
        return MediaError(Reason.TOO_LARGE, _tail(stderr))
    if "moov atom not found" in stderr or "End of file" in stderr:
        return MediaError(Reason.TRUNCATED, _tail(stderr))
    return MediaError(Reason.NOT_MEDIA, _tail(stderr) or "no known container")


def _tail(stderr: str) -> str:
    return "; ".join(stderr.splitlines()[-2:])


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _clock(text: str | None) -> float | None:
    """Seconds of ``HH:MM:SS.fraction``."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text or "")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
