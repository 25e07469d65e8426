"""ffmpeg and ffprobe: their versions, and whether each option of the sandbox is understood and really blocks.

Every option is tried twice on a small picture of our own: once so that the tool must read it, which shows that the
trial would notice, and once so that it must not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_specs.media import Completed, Limits, find_tool, run_tool, tool_version
from pipelines.doctor.finding import Finding, failure, ok, warning

_LIMITS = Limits(wall_s=20.0, cpu_s=10)
_SIDE = 64
_WAY_OUT = "put an ffmpeg with ffprobe, version 4.4 or later, on PATH, or take it off PATH: make setup installs one"


@dataclass(frozen=True)
class Trial:
    """``url`` must be read with ``opened`` changed among the sandbox's options, and not with ``shut``."""

    option: str
    what: str
    url: str
    opened: dict[str, str | int | None]
    shut: dict[str, str | int | None]


def check_tool(tool: str, scratch: Path) -> Iterator[Finding]:
    """Version and sandbox of ``ffmpeg`` or ``ffprobe``; ``scratch`` is a folder for the trials' files.

    Raises:
        InputError: the tool is not there.
        MediaError: it does not answer within its limits.
    """
    found = f"{find_tool(tool)}, version {tool_version(tool)}"
    picture, trials = _prepare(scratch)
    understood = _run(tool, picture, {})
    if not understood.stdout:
        said = " ".join(understood.stderr.split())[-200:]
        yield failure(tool, f"{found}: refuses the sandbox's options or a plain picture: {said}", _WAY_OUT)
        return
    blocked: list[str] = []
    for trial in trials:
        if _run(tool, trial.url, trial.shut).stdout:
            yield failure(tool, f"{found}: -{trial.option} does not block {trial.what}", _WAY_OUT)
        elif not _run(tool, trial.url, trial.opened).stdout:
            yield warning(tool, f"{found}: whether -{trial.option} blocks {trial.what} could not be tried", _WAY_OUT)
        else:
            blocked.append(f"-{trial.option}")
    if blocked:
        yield ok(tool, f"{found}; tried, and they block: {', '.join(blocked)}")


def _prepare(scratch: Path) -> tuple[str, list[Trial]]:
    picture, text = scratch / "picture.bmp", scratch / "list.ffconcat"
    picture.write_bytes(_bitmap(_SIDE))
    text.write_text(f"ffconcat version 1.0\nfile {picture.name}\n")
    url = f"file:{picture}"
    trials = [
        Trial(
            "format_whitelist",
            "a text that names another file (ffconcat)",
            f"file:{text}",
            opened={"format_whitelist": None},
            shut={},
        ),
        Trial(
            "protocol_whitelist",
            "protocols other than file",
            f"concat:{picture}",
            opened={"protocol_whitelist": "file,concat"},
            shut={},
        ),
        Trial("max_pixels", "a picture of more pixels", url, opened={}, shut={"max_pixels": _SIDE * _SIDE // 2}),
        Trial("max_alloc", "larger blocks of memory", url, opened={}, shut={"max_alloc": 4096}),
    ]
    return url, trials


def _run(tool: str, url: str, changed: dict[str, str | int | None]) -> Completed:
    """Runs the tool on ``url`` with the sandbox's options, some changed or (None) left out."""
    options = {**_LIMITS.input_arguments(), **changed}
    command = [str(find_tool(tool)), "-v", "error"]
    for name, value in options.items():
        command += [] if value is None else [f"-{name}", str(value)]
    if tool == "ffmpeg":
        command += ["-nostdin", "-i", url, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    else:
        command += ["-show_entries", "frame=width", "-of", "compact", url]
    return run_tool(command, _LIMITS)


def _bitmap(side: int) -> bytes:
    """A square 24-bit Windows bitmap; ``side`` is in pixels and divisible by 4."""
    pixels = bytes(i % 251 for i in range(side * side * 3))
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels
