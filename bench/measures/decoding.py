"""Processor time of eight frames of a 30 s 720p H.264 clip: sought by our sandboxed processes, by a full decode with
the same ffmpeg, and by PyAV and torchcodec inside this process.

All of them use one thread and give the same frames as RGB; that is checked. Time is user and system time of this
process and its children, the start of processes included. PyAV and torchcodec are measured where they import.
"""

from __future__ import annotations

import importlib
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_specs.manifest import Item
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool, tool_version
from extract.frames import sample_frames
from extract.sampling import Sampling

SECONDS, RATE, SIZE = 30, 30, (720, 1280)
FRAMES = 8
GROUPS = {"keyframe_a_second": 30, "keyframe_in_250_frames": 250}
LIMITS = Limits(wall_s=600.0, cpu_s=600)
_NEARLY = 2.0  # of 255, on average: libraries of other versions round colours otherwise

Images = NDArray[np.uint8]
Way = Callable[[Path], Images]


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """Makes the clips below ``scratch`` and measures ``rounds`` times in alternation, at least twice; medians.

    Raises:
        RuntimeError: a contestant gave other frames than a full decode.
    """
    in_process, absent = _in_process()
    found: dict[str, Any] = {
        "clip": f"{SECONDS} s of {SIZE[1]} x {SIZE[0]} H.264 at {RATE} frames a second, {FRAMES} frames taken",
        "ffmpeg": tool_version("ffmpeg"),
        "absent": absent,
    }
    for name, group in GROUPS.items():
        clip = _make_clip(scratch / f"{name}.mp4", group)
        found[name] = _ratios(_median_seconds(clip, {**_WAYS, **in_process}, rounds), list(in_process))
    return found


def _median_seconds(clip: Path, ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Processor seconds of each way, in turns."""
    wanted = _full_decode(clip)
    for way, take in ways.items():  # not counted: the first call of a library loads it
        if take is not _all_to_rgb:
            _compare(way, take(clip), wanted)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(max(rounds, 2)):
        for way, take in ways.items():
            taken[way].append(_cpu_seconds(take, clip))
    return {way: statistics.median(seconds) for way, seconds in taken.items()}


def _ratios(seconds: dict[str, float], in_process: list[str]) -> dict[str, float]:
    result = {f"{way}_cpu_s": round(value, 3) for way, value in seconds.items()}
    result["full_decode_over_ours"] = round(seconds["full_decode"] / seconds["ours"], 2)
    result["ours_over_full_decode"] = round(seconds["ours"] / seconds["full_decode"], 2)
    if in_process:
        best = min(seconds[way] for way in in_process)
        result["ours_over_best_in_process"] = round(seconds["ours"] / best, 2)
    return result


def _cpu_seconds(take: Way, clip: Path) -> float:
    def used() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = used()
    take(clip)
    return used() - before


def _compare(way: str, images: Images, wanted: Images) -> None:
    apart = np.abs(images.astype(np.int16) - wanted).mean() if images.shape == wanted.shape else np.inf
    if apart > (0.0 if way == "ours" else _NEARLY):
        raise RuntimeError(f"{way}: the frames differ from those of a full decode by {apart} on average")


def _make_clip(path: Path, group: int) -> Path:
    source = f"testsrc2=size={SIZE[1]}x{SIZE[0]}:rate={RATE}:duration={SECONDS},noise=alls=6:allf=t"
    command = [str(find_tool("ffmpeg")), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
    command += ["-crf", "26", "-pix_fmt", "yuv420p", "-g", str(group), "-keyint_min", str(group)]
    done = run_tool([*command, "-sc_threshold", "0", str(path)], LIMITS)
    if done.returncode != 0:
        raise RuntimeError(f"the clip could not be made: {done.stderr}")
    return path


def _ours(clip: Path) -> Images:
    return sample_frames(clip.parent, Item("clip", clip.name, "train"), Sampling(FRAMES), LIMITS).images


def _full_decode(clip: Path) -> Images:
    """Everything is decoded, the eight frames are converted."""
    numbers = "+".join(f"eq(n,{int(time * RATE + 1e-6)})" for time in _moments())
    return _raw(clip, "-vf", f"select='{numbers}'")


def _all_to_rgb(clip: Path) -> Images:
    """Everything is decoded and converted, as a decoder without timestamps has to."""
    return _raw(clip)


def _raw(clip: Path, *filters: str) -> Images:
    bounded = Limits(wall_s=600.0, cpu_s=600, output_bytes=4 << 30)
    with opened(clip) as descriptor:
        command = [str(find_tool("ffmpeg")), "-v", "error", "-threads", "1", "-i", descriptor_url(descriptor), *filters]
        command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-threads", "1", "pipe:1"]
        raw = run_tool(command, bounded, descriptors=[descriptor]).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *SIZE, 3)


def _moments() -> list[float]:
    return Sampling(FRAMES).times(0.0, float(SECONDS), "clip")


_WAYS: dict[str, Way] = {"ours": _ours, "full_decode": _full_decode, "full_decode_all_to_rgb": _all_to_rgb}


def _in_process() -> tuple[dict[str, Way], list[str]]:
    """The libraries that import, and the names of those that do not."""
    ways, absent = {}, []
    for name, module, take in (("pyav", "av", _pyav), ("torchcodec", "torchcodec.decoders", _torchcodec)):
        try:
            importlib.import_module(module)
        except (ImportError, RuntimeError, OSError):  # torchcodec raises the latter two without its libraries
            absent.append(name)
        else:
            ways[name] = take
    return ways, absent


def _pyav(clip: Path) -> Images:
    """Seeks where a keyframe lies between two frames, and decodes on where none does."""
    import av

    images = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        index = stream.index_entries
        frames, group = iter(()), None
        current = None
        for time in _moments():
            target = int(time / stream.time_base)
            place = index.search_timestamp(target, backward=True)
            if place != group:
                container.seek(target, stream=stream)
                frames, group, current = container.decode(stream), place, None
            while current is None or current.pts + current.duration <= target:
                current = next(frames)
            images.append(current.to_ndarray(format="rgb24"))
    return np.stack(images)


def _torchcodec(clip: Path) -> Images:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(clip), num_ffmpeg_threads=1, seek_mode="approximate", dimension_order="NHWC")
    return decoder.get_frames_played_at(_moments()).data.numpy()
