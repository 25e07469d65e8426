"""What a media file holds: its size, its packets and the exact times at which its frames are shown."""

from __future__ import annotations

import io
import math
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_specs.extent import is_cut
from data_specs.failures import MediaError, Reason
from data_specs.media import Completed, Limits, descriptor_url, find_tool, run_tool

_ENTRIES = (
    "packet=pts_time,dts_time,duration_time,size,pos,flags"
    ":stream=index,codec_name,width,height,has_b_frames,sample_aspect_ratio,duration,nb_frames"
    ":stream_tags=DURATION:stream_side_data=rotation:format=format_name,start_time"
)
_BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")  # one that the tool has not escaped
_OUTPUT_BYTES = 256 << 20  # the packet table of a day of video
_CUT_S = 0.5  # where a container does not state its length: packets that end this much before the stream's stated end
_REFUSED = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)")
_MOST_STRETCHED = 10.0  # pixels that claim to be longer than this, either way, are taken for square


@dataclass(frozen=True, eq=False)
class Packets:
    """The packets of a stream in decoding order, as arrays of one length.

    times, decoded_at: seconds; the first is when the frame is shown. keys: decoding may start here. positions, sizes:
    bytes, -1 where unknown.
    """

    times: NDArray[np.float64]
    decoded_at: NDArray[np.float64]
    keys: NDArray[np.bool_]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Probe:
    """The first real video stream of a file (cover art does not count).

    stream: its index in the file. shown_at: seconds, rising, when each frame is shown first. end: seconds, when the
    last one stops being shown. size: (height, width) as coded, in pixels. shown_size: the same as a viewer sees it,
    turned as the metadata ask and with square pixels. delayed: frames are shown in another order than decoded.
    """

    container: str
    codec: str
    stream: int
    size: tuple[int, int]
    shown_size: tuple[int, int]
    end: float
    shown_at: NDArray[np.float64]
    packets: Packets
    delayed: bool = False

    @property
    def timed(self) -> bool:
        """Whether decoded frames bear the times of the packet table.

        AVI knows the times of decoding alone; where frames are shown in another order, the decoder's guesses differ
        from the table's, and frames can only be counted.
        """
        return not (self.delayed and "avi" in self.container.split(","))

    def frame_at(self, time: float) -> int:
        """The index of the frame on screen at ``time``, in seconds: the last shown at or before it, else the first."""
        return max(int(np.searchsorted(self.shown_at, time + 1e-6, side="right")) - 1, 0)

    def window(self, index: int) -> tuple[float, float]:
        """From when to when, in seconds, frame ``index`` and no other appears.

        Its borders lie half-way to the neighbours, so that rounding cannot matter and no frame passes for another.
        """
        before = self.shown_at[index - 1] if index > 0 else self.shown_at[index] - 2.0
        after = self.shown_at[index + 1] if index + 1 < len(self.shown_at) else self.shown_at[index] + 2.0
        return float(before + self.shown_at[index]) / 2, float(self.shown_at[index] + after) / 2


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
    table, stream, container = _sections(completed.stdout)
    if container is None:
        _refuse_large(_refused_sizes(completed.stderr), limits)
        raise _unreadable(completed)
    if stream is None:
        raise MediaError(Reason.NO_VIDEO_STREAM, f"a {container['format_name']} file without a video stream")
    if stream.get("codec_name") in (None, "unknown"):
        raise MediaError(Reason.UNSUPPORTED_FORMAT, f"a {container['format_name']} file of an unknown codec")
    size = _integer(stream.get("height")), _integer(stream.get("width"))
    shown_size = _shown_size(stream, size)
    _refuse_large([size, shown_size, *(_refused_sizes(completed.stderr) if 0 in size else ())], limits)
    if table.untimed and not table.shown_at:
        raise MediaError(
            Reason.UNSUPPORTED_FORMAT, f"the packets of this {container['format_name']} file have no times"
        )
    if not table.shown_at or size[0] * size[1] == 0:
        raise MediaError(Reason.TRUNCATED, completed.stderr or "a video stream without any frame")
    shown_at = np.unique(np.frombuffer(table.shown_at, np.float64))
    _refuse_cut(is_cut(descriptor, container["format_name"]), stream, table, shown_at)
    return Probe(
        container=container["format_name"],
        codec=stream["codec_name"],
        stream=_integer(stream.get("index")),
        size=size,
        shown_size=shown_size,
        end=table.end,
        shown_at=shown_at,
        packets=table.packets(),
        delayed=_integer(stream.get("has_b_frames")) > 0,
    )


class _Table:
    """A stream's packets, taken up one line at a time."""

    def __init__(self) -> None:
        self.shown_at, self.end = array("d"), -math.inf
        self.whole, self.untimed = 0, 0
        self._times, self._decoded_at, self._keys = array("d"), array("d"), array("b")
        self._positions, self._sizes = array("q"), array("q")

    def add(self, fields: dict[str, str]) -> None:
        decoded = _seconds(fields.get("dts_time"))
        time = _seconds(fields.get("pts_time"))
        flags = fields.get("flags", "")
        self.whole += "C" not in flags
        if time is None:
            time = decoded
        if time is None:
            self.untimed += 1
            return
        self._times.append(time)
        self._decoded_at.append(time if decoded is None else decoded)
        self._keys.append("K" in flags)
        self._positions.append(_integer(fields.get("pos"), -1))
        self._sizes.append(_integer(fields.get("size"), -1))
        if "D" not in flags:
            self.shown_at.append(time)
            self.end = max(self.end, time + (_seconds(fields.get("duration_time")) or 0.0))

    def packets(self) -> Packets:
        return Packets(
            np.array(self._times, np.float64),
            np.array(self._decoded_at, np.float64),
            np.array(self._keys, np.bool_),
            np.array(self._positions, np.int64),
            np.array(self._sizes, np.int64),
        )


def _sections(output: bytes) -> tuple[_Table, dict[str, str] | None, dict[str, str] | None]:
    table, stream, container = _Table(), None, None
    for line in io.BytesIO(output):
        name, *pairs = _BAR.split(line.decode("utf-8", errors="replace").rstrip())
        fields: dict[str, str] = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            fields.setdefault(key, value)  # tags, which the file's author writes, come last
        if name == "packet":
            table.add(fields)
        elif name == "stream":
            stream = stream or fields
        elif name == "format":
            container = fields
    return table, stream, container


def _shown_size(stream: dict[str, str], size: tuple[int, int]) -> tuple[int, int]:
    """Players keep the height and stretch the width; so do we, and then turn."""
    height, width = size
    across, _, down = stream.get("sample_aspect_ratio", "").partition(":")
    if _integer(across) and _integer(down):
        stretch = _integer(across) / _integer(down)
        if 1 / _MOST_STRETCHED <= stretch <= _MOST_STRETCHED:
            width = max(round(width * stretch), 1) if width else 0
    turned = (_seconds(stream.get("rotation")) or 0.0) % 180
    return (width, height) if abs(turned - 90) < 1 else (height, width)


def _refuse_large(sizes: Iterable[tuple[int, int]], limits: Limits) -> None:
    for height, width in sizes:
        if width * height > limits.pixels:
            raise MediaError(
                Reason.TOO_LARGE, f"frames of {width} x {height} pixels, at most {limits.pixels} are decoded"
            )


def _refused_sizes(stderr: str) -> list[tuple[int, int]]:
    """(height, width) of the pictures that the tool would not decode."""
    return [(int(height), int(width)) for width, height in _REFUSED.findall(stderr)]


def _refuse_cut(cut: bool | None, stream: dict[str, str], table: _Table, shown_at: NDArray[np.float64]) -> None:
    """A stated duration may be a lie, and an edit list may leave frames out, as long as the file itself is whole."""
    if cut is False:
        return
    length, last = _seconds(stream.get("duration")), _clock(stream.get("tag:DURATION"))
    if length is not None:  # Matroska's tag is when the last frame ends; other containers say how long the stream is
        last = shown_at[0] + length
    frame = (shown_at[-1] - shown_at[0]) / max(len(shown_at) - 1, 1)
    missing = _integer(stream.get("nb_frames")) - table.whole
    if missing > 0:
        raise MediaError(Reason.TRUNCATED, f"{missing} of {stream['nb_frames']} frames lie past the end of the file")
    if last is not None and last - table.end > max(0.0 if cut else _CUT_S, 1.5 * frame):
        raise MediaError(Reason.TRUNCATED, f"the stream should end at {last:.2f} s, the file ends at {table.end:.2f} s")


def _unreadable(completed: Completed) -> MediaError:
    stderr = completed.stderr
    if completed.returncode < 0:
        return MediaError(Reason.DECODE_ERROR, f"ffprobe died of signal {-completed.returncode}; {_tail(stderr)}")
    refused = re.search(r"\[(\S+) @ \S+\] Format not on whitelist|(\S+): Format not on whitelist", stderr)
    if refused or "not on whitelist" in stderr or "not in whitelist" in stderr:
        named = f"the format {refused[1] or refused[2]}" if refused else "a format or protocol"
        return MediaError(Reason.UNSUPPORTED_FORMAT, f"{named} is not among those that are read")
    if "moov atom not found" in stderr or "End of file" in stderr or "File ended prematurely" in stderr:
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
    match = re.fullmatch(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,20})?)", text or "")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _integer(text: str | None, otherwise: int = 0) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text) else otherwise
