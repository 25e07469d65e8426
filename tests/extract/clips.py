"""Small good clips of many kinds: every codec, container and oddity that an extraction must take."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from data_specs.manifest import Item
from data_specs.media import Limits, find_tool, run_tool

SOURCES = Path(__file__).parents[1] / "fixtures/msrvtt10/videos/all"  # ten scenes of shapes: a detector finds something
NUM_SOURCES = 10
X264 = ("-c:v", "libx264", "-preset", "ultrafast")
_LIMITS = Limits()
_ROTATIONS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@dataclass(frozen=True)
class Kind:
    """How one kind of clip is made of a scene; ``arguments`` stand between the scene and the file's name.

    ``finish`` changes the file that came out, for what no encoder writes.
    """

    ending: str
    arguments: tuple[str, ...]
    size: str = "128:96"
    seconds: float = 2.0
    media: str = "video"
    before: tuple[str, ...] = ()
    finish: Callable[[Path], None] | None = None


def rotated(degrees: int) -> Callable[[Path], None]:
    """Writes a rotation into the track header of an MP4 or MOV, as telephones do."""

    def finish(path: Path) -> None:
        data = bytearray(path.read_bytes())
        a, b, c, d = (value << 16 for value in _ROTATIONS[degrees])
        matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix stands 40 bytes into the box
        data[at : at + len(matrix)] = matrix
        path.write_bytes(data)

    return finish


def stated_duration(seconds: float) -> Callable[[Path], None]:
    """Makes every header of an MP4 claim this duration; the sample tables stay as they are."""

    def finish(path: Path) -> None:
        data = bytearray(path.read_bytes())
        for box, timescale_at, duration_at in ((b"mvhd", 12, 16), (b"mdhd", 12, 16), (b"tkhd", None, 20)):
            at = data.index(box) + 4
            timescale = 1000 if timescale_at is None else struct.unpack_from(">I", data, at + timescale_at)[0]
            struct.pack_into(">I", data, at + duration_at, round(seconds * timescale))
        path.write_bytes(data)

    return finish


AUDIO = ("-f", "lavfi", "-i", "sine=duration=2", "-map", "0:v", "-map", "1:a", "-c:a", "aac")
KINDS: dict[str, Kind] = {
    "long_gop": Kind("mp4", ("-c:v", "libx264", "-g", "250", "-bf", "3"), seconds=3.0),
    "open_gop": Kind("mp4", ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:bframes=3"), seconds=3.0),
    "faststart": Kind("mp4", (*X264, "-movflags", "faststart"), size="160:120"),
    "hevc": Kind("mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=12")),
    "vp8": Kind("webm", ("-c:v", "libvpx", "-deadline", "realtime")),
    "vp9": Kind("webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "av1": Kind("mkv", ("-c:v", "libaom-av1", "-cpu-used", "8", "-g", "8")),
    "mpeg4": Kind("avi", ("-c:v", "mpeg4", "-bf", "2", "-g", "10")),
    "mjpeg": Kind("avi", ("-c:v", "mjpeg")),
    "theora": Kind("ogv", ("-c:v", "libtheora", "-g", "8")),
    "wmv": Kind("wmv", ("-c:v", "wmv2")),
    "flv": Kind("flv", ("-c:v", "flv", "-g", "8")),
    "prores": Kind("mov", ("-c:v", "prores_ks"), size="64:48", seconds=1.0),
    "turned_90": Kind("mov", X264, finish=rotated(90)),
    "turned_180": Kind("mov", X264, finish=rotated(180)),
    "turned_270": Kind("mp4", X264, size="96:64", finish=rotated(270)),
    "variable_rate": Kind(
        "mp4", ("-fps_mode", "vfr", *X264, "-bf", "2"), size="128:96,select='not(mod(n,3))+gt(n,15)'", seconds=3.0
    ),
    "live": Kind("mp4", (*X264, "-g", "5", "-movflags", "frag_keyframe+empty_moov+skip_trailer")),
    "live_matroska": Kind("mkv", (*X264, "-live", "1")),
    "says_longer": Kind("mp4", X264, finish=stated_duration(600.0)),
    "says_shorter": Kind("mp4", X264, finish=stated_duration(0.2)),
    "ten_bit": Kind("mp4", ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le")),
    "odd_size": Kind("mkv", ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv444p"), size="101:75"),
    "not_square": Kind("mp4", X264, size="128:96,setsar=4/3"),
    "three_frames": Kind("mp4", (*X264, "-frames:v", "3"), seconds=0.3),
    "moving": Kind("gif", (), size="64:48", seconds=1.0),
    "jpeg": Kind("jpg", ("-frames:v", "1"), size="160:120", media="image"),
    "png": Kind("png", ("-frames:v", "1"), media="image"),
    "webp": Kind("webp", ("-c:v", "libwebp", "-frames:v", "1"), media="image"),
    "bmp": Kind("bmp", ("-frames:v", "1"), size="64:48", media="image"),
    "transport": Kind("ts", (*X264, "-g", "8", "-bf", "2")),
    "interlaced": Kind("mpg", ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-r", "25"), size="128:96"),
    "late_start": Kind("mkv", (*X264, "-output_ts_offset", "7.3")),
    "late_transport": Kind("ts", ("-c:v", "mpeg2video", "-r", "25", "-output_ts_offset", "3600")),
    "two_streams": Kind("mkv", ("-map", "0:v", "-map", "0:v", *X264, "-s:v:1", "64x48")),
    "with_audio": Kind("mp4", (*AUDIO, *X264)),
    "edit_list": Kind("mp4", ("-c", "copy"), size="", before=("-ss", "0.35")),
}


@cache
def encoders() -> frozenset[str]:
    """The encoders of the ffmpeg in use."""
    listed = run_tool([str(find_tool("ffmpeg")), "-v", "error", "-encoders"], _LIMITS).stdout.decode()
    return frozenset(line.split()[1] for line in listed.splitlines() if len(line.split()) > 1)


def is_made(kind: Kind) -> bool:
    """Whether the ffmpeg in use has the encoder."""
    named = [value for name, value in zip(kind.arguments, kind.arguments[1:], strict=False) if name == "-c:v"]
    return set(named) <= encoders()


def make_clip(path: Path, kind: Kind, source: int) -> Path:
    """Makes one clip of scene ``source`` (0 to 9)."""
    command = [str(find_tool("ffmpeg")), "-v", "error", "-y", *kind.before, "-i", str(SOURCES / f"video{source}.mp4")]
    filters = ["-vf", f"scale={kind.size}"] if kind.size else []
    command += [*kind.arguments, *filters, "-t", str(kind.seconds)]
    command += ["-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact", str(path)]
    done = run_tool(command, _LIMITS)
    assert done.returncode == 0 and path.stat().st_size > 0, f"{path.name}: {done.stderr}"
    if kind.finish is not None:
        kind.finish(path)
    return path


def make_clips(folder: Path, count: int, seed: int) -> list[Item]:
    """``count`` clips below ``folder``, each kind at least once if there is room; paths are relative to it.

    Two files of each kind are encoded, of scenes that ``seed`` picks. The others are their copies under other names,
    or parts of them between ``clip_start`` and ``clip_end``.
    """
    draw = random.Random(seed)
    made: list[tuple[Kind, Item]] = []
    for number in range(2):
        for name, kind in KINDS.items():
            if len(made) < count and is_made(kind):
                path = make_clip(folder / f"{name}-{number}.{kind.ending}", kind, draw.randrange(NUM_SOURCES))
                made.append((kind, Item(f"{name}-{number}", path.name, "train", kind.media)))
    items = [item for _, item in made]
    while len(items) < count:
        kind, item = draw.choice(made)
        identifier = f"{item.id} ({len(items)})"
        if kind.media == "video" and draw.random() < 0.5:
            start, end = sorted(draw.uniform(0.0, kind.seconds * 0.9) for _ in range(2))
            items.append(replace(item, id=identifier, clip_start=round(start, 3), clip_end=round(end + 0.1, 3)))
        else:
            items.append(replace(item, id=identifier, path=_copy(folder, item.path, len(items), draw)))
    return [replace(i, split="test" if n % 10 == 9 else "train", captions=(i.id,)) for n, i in enumerate(items)]


def _copy(folder: Path, source: str, number: int, draw: random.Random) -> str:
    """A copy of a clip under a name of another sort; a number keeps names apart."""
    stem, ending = source.rsplit(".", 1)
    name = draw.choice(
        [
            f"{stem}.with.dots.{number}.{ending}",
            f"{stem} with spaces {number}.{ending}",
            f"Ünïcödé ✓ 影片 {number}.{ending}",
            f".hidden-{number}.{ending}",
            f"a folder/{number}.{ending.upper()}",
            f"no-ending-{number}",
        ]
    )
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(folder / source, path)
    return name
