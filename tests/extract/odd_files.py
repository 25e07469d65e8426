"""Files that look like trouble and are none: odd names, endless loops, frames shown for hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_specs.manifest import Item
from data_specs.media import Limits, find_tool, run_tool
from tests.extract.clips import SOURCES

SCENE = SOURCES / "video1.mp4"
NAMES = (
    "-i",
    "-y.mp4",
    "a\nname of\r\ntwo lines.mp4",
    "concat:a.mp4|b.mp4",
    "file:c.mp4",
    "pipe:0",
    "a%03d.mp4",
    "[x]'\"\\;&#$(touch y).mp4",
    "name.jpg",
    "\u202eright to left.mp4",
    "playlist.m3u8",
    "x" * 251 + ".mp4",
)
_LIMITS = Limits()


def make_odd_files(folder: Path) -> list[Item]:
    """Makes the files below ``folder``; each must give a sample. Paths are relative to it."""
    items = []
    for name in NAMES:
        (folder / name).write_bytes(SCENE.read_bytes())
        items.append(Item(f"odd: {name}", name, "train"))
    (folder / "link.mp4").symlink_to(SCENE.resolve())
    made = ["link.mp4", *_few_frames(folder), *_endless(folder)]
    return items + [Item(f"odd: {name}", name, "train") for name in made]


def _few_frames(folder: Path) -> Iterator[str]:
    """One frame; two that are shown for five hours each; one whose header says ten hours."""
    yield _ffmpeg(folder / "one-frame.mp4", (), "-frames:v", "1")
    yield _ffmpeg(folder / "ten-hours.mp4", ("-r", "1/18000"), "-frames:v", "2", "-fps_mode", "passthrough")
    yield _ffmpeg(folder / "ten-hours.mkv", ("-r", "1/18000"), "-frames:v", "2", "-fps_mode", "passthrough")
    avi = bytearray((folder / _ffmpeg(folder / "no-rate.avi", (), "-t", "1")).read_bytes())
    at = avi.index(b"strh") + 8 + 20  # scale and rate of the stream: 0 and 0, that is no frame rate at all
    avi[at : at + 8] = bytes(8)
    (folder / "no-rate.avi").write_bytes(avi)
    yield "no-rate.avi"


def _endless(folder: Path) -> Iterator[str]:
    yield _ffmpeg(folder / "for-ever.gif", (), "-vf", "scale=64:48", "-t", "1", "-loop", "0")
    whole = (folder / _ffmpeg(folder / "no-trailer.gif", (), "-vf", "scale=64:48", "-t", "1")).read_bytes()
    (folder / "no-trailer.gif").write_bytes(whole.removesuffix(b";"))
    yield "no-trailer.gif"


def _ffmpeg(path: Path, before: tuple[str, ...], *arguments: str) -> str:
    """Makes a file of the scene and gives back its name."""
    command = [str(find_tool("ffmpeg")), "-v", "error", "-y", *before, "-i", str(SCENE), *arguments, "-threads", "1"]
    done = run_tool([*command, "-flags", "+bitexact", "-fflags", "+bitexact", str(path)], _LIMITS)
    assert done.returncode == 0, done.stderr
    return path.name
