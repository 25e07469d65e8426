"""What a media file holds: its size and the exact times at which its frames are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from data_specs.failures import MediaError, Reason
from data_specs.media import Completed, Limits, descriptor_url, find_tool, run_tool

_ENTRIES = (
    "packet=pts_time,dts_time,duration_time,flags:stream=codec_name,width,height:format=format_name,start_time,duration"
)


@dataclass(frozen=True)
class Probe:
    """The first real video stream of a file (cover art does not count).

    shown_at: seconds, rising, when each frame is shown first. end: seconds, when the last one stops being shown.
    start: seconds, the container's first timestamp; seeks are relative to it. size: (height, width) as coded, in
    pixels, before any rotation that the metadata ask for.
    """

    container: str
    codec: str
    size: tuple[int, int]
    start: float
    end: float
    shown_at: tuple[float, ...]


def probe(descriptor: int, limits: Limits) -> Probe:
    """Reads the packet table of an opened media file (see ``media.opened``) without decoding it.

    Raises:
        MediaError: not media, a container outside the whitelist, no video stream, cut before its index, or too large.
    """
    arguments = [str(find_tool("ffprobe")), "-v", "error", "-threads", "1", "-fflags", "+genpts"]
    for name, value in limits.input_arguments().items():
        arguments += [f"-{name}", str(value)]
    arguments += ["-select_streams", "V", "-show_entries", _ENTRIES, "-of", "compact", descriptor_url(descriptor)]
    completed = run_tool(arguments, limits, descriptors=[descriptor])
    sections = list(_sections(completed.stdout.decode("utf-8", errors="replace")))
    formats = [fields for name, fields in sections if name == "format"]
    if not formats:
        raise _unreadable(completed)
    streams = [fields for name, fields in sections if name == "stream" and fields.get("codec_name") != "unknown"]
    if not streams:
        raise MediaError(Reason.NO_VIDEO_STREAM, f"a {formats[0]['format_name']} file without a video stream")
    height, width = _integer(streams[0].get("height")), _integer(streams[0].get("width"))
    if height * width > limits.pixels:
        raise MediaError(Reason.TOO_LARGE, f"frames of {width} x {height} pixels, at most {limits.pixels} are decoded")
    shown_at, end = _timeline(fields for name, fields in sections if name == "packet")
    if not shown_at or height * width == 0:
        raise MediaError(Reason.TRUNCATED, completed.stderr or "a video stream without any frame")
    start = _seconds(formats[0].get("start_time"))
    return Probe(
        container=formats[0]["format_name"],
        codec=streams[0].get("codec_name", ""),
        size=(height, width),
        start=shown_at[0] if start is None else start,
        end=end,
        shown_at=shown_at,
    )


def _sections(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for line in text.splitlines():
        name, *pairs = line.split("|")
        yield name, dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _timeline(packets: Iterator[dict[str, str]]) -> tuple[tuple[float, ...], float]:
    times: set[float] = set()
    end = -math.inf
    for packet in packets:
        time = _seconds(packet.get("pts_time"))
        if time is None:
            time = _seconds(packet.get("dts_time"))
        if time is None or "D" in packet.get("flags", ""):
            continue
        times.add(time)
        end = max(end, time + (_seconds(packet.get("duration_time")) or 0.0))
    return tuple(sorted(times)), end


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


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
