"""From where to decode: which keyframe each wanted frame needs, and which frames share one.

Everything between a keyframe and the frame has to be decoded, so frames of one group of pictures are taken in one go.
Opening the file once more costs about as much as decoding a few frames; where less than that lies between two groups,
decoding simply goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ffmpeg
import numpy as np

from data_specs.media import Limits, descriptor_url
from data_specs.probe import Probe

_WORTH_A_SEEK = 6 << 20  # pixels; decoding fewer is cheaper than opening the file once more
_INDEXED = ("mov", "matroska", "avi", "asf", "flv", "ogg")  # seeks land on the last keyframe at or before the moment
_SEARCHED = "mpegts"  # seeks land on the last packet that is decoded at or before the moment
_SLACK_S = 0.0005
_MOST_FRAMES = 256  # of a span; more make two
_HEURISTIC_S = 3 / 23  # ffmpeg seeks this much earlier where frames are delayed and the container is not MP4 or MOV


@dataclass(frozen=True)
class Span:
    """Frames (indices into ``Probe.shown_at``, rising) that are decoded in one go, after a seek to ``seek``.

    seek: seconds of the container's own clock, as ffmpeg's ``-ss`` takes them; None: from the start. first, last: the
    packets that are decoded for it, of ``Probe.packets``.
    """

    seek: float | None
    frames: tuple[int, ...]
    first: int
    last: int


def plan_spans(found: Probe, wanted: Sequence[int]) -> list[Span]:
    """Spans that give the frames ``wanted`` (rising) with little decoding, in the frames' order."""
    packets = packet_of(found, wanted)
    spans: list[Span] = []
    for frame, packet in zip(wanted, packets, strict=True):
        key = _key_before(found, packet) if _can_seek(found) else 0
        behind = spans[-1].last if spans else -1
        if (
            spans
            and len(spans[-1].frames) < _MOST_FRAMES
            and (key <= behind or (key - behind) * found.size[0] * found.size[1] < _WORTH_A_SEEK)
        ):
            last = spans.pop()
            spans.append(Span(last.seek, (*last.frames, frame), last.first, max(behind, packet)))
        else:
            spans.append(Span(_moment(found, key), (frame,), key, packet))
    return spans


def from_start(frames: Sequence[int], last: int) -> Span:
    """The frames by a plain decode, up to packet ``last``, as a player would come to them."""
    return Span(None, tuple(frames), 0, last)


def chosen(descriptor: int, found: Probe, span: Span, limits: Limits) -> ffmpeg.Stream:
    """The span's frames and no others, of an opened file, for the tool that gets the descriptor.

    Each is chosen by its time; one that comes out of order is left out, which the caller's count notices.
    """
    moment = {} if span.seek is None else {"noaccurate_seek": None, "seek_timestamp": 1, "ss": f"{span.seek:.6f}"}
    options = {"threads": 1, "fflags": "+genpts", **limits.input_arguments(), **moment}
    if found.timed:
        windows = [found.window(frame) for frame in span.frames]
        wanted = "+".join(f"between(t,{begin:.6f},{end:.6f})" for begin, end in windows)
        wanted = f"(isnan(prev_selected_t)+gt(t,prev_selected_t))*({wanted})"
        until = {"end": f"{windows[-1][1]:.6f}"}
    else:
        wanted = "+".join(f"eq(n,{frame})" for frame in span.frames)
        until = {"end_frame": span.frames[-1] + 1}
    source = ffmpeg.input(descriptor_url(descriptor), **options)[str(found.stream)]
    return source.filter("trim", **until).filter("select", wanted)


def packet_of(found: Probe, frames: Sequence[int]) -> list[int]:
    """The packet, in decoding order, that each frame comes from."""
    order = np.argsort(found.packets.times, kind="stable")
    places = np.searchsorted(found.packets.times[order], found.shown_at[list(frames)], side="left")
    return [int(packet) for packet in order[places]]


def _can_seek(found: Probe) -> bool:
    """An MPEG programme stream gives other times after a seek, and other containers have no index to trust."""
    return found.timed and not {*_INDEXED, _SEARCHED}.isdisjoint(found.container.split(","))


def _key_before(found: Probe, packet: int) -> int:
    """The last keyframe from which the packet can be decoded; 0 when none is marked.

    A keyframe that is decoded before the packet but shown after it is none: the packet needs the ones before, too.
    """
    times = found.packets.times[: packet + 1]
    usable = np.flatnonzero(found.packets.keys[: packet + 1] & (times <= times[-1]))
    return int(usable[-1]) if len(usable) else 0


def _moment(found: Probe, key: int) -> float | None:
    if key == 0:
        return None
    names = found.container.split(",")
    earlier = _HEURISTIC_S if found.delayed and "mov" not in names else 0.0
    if _SEARCHED in names:
        return float(found.packets.decoded_at[key]) + earlier
    return float(found.packets.times[key]) + _SLACK_S + earlier
