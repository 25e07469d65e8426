"""Subtitles, SubRip (``.srt``) and WebVTT (``.vtt``): what is said when, and the text of a clip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MOMENT = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMING = re.compile(rf"\s*{_MOMENT}\s*-->\s*{_MOMENT}(?:\s.*)?")
_TAG = re.compile(r"</?(?:[bius]|c|v|rt|ruby|lang|font)(?:[.\s][^<>]*)?>|<(?:\d+:)?\d+:\d+[.,]\d+>|\{\\[^{}]*\}", re.I)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&lrm;": "", "&rlm;": "", "&amp;": "&"}
_ENTITY = re.compile("|".join(_ENTITIES))


@dataclass(frozen=True)
class Cue:
    """A piece of text and the seconds from and to which it is shown."""

    start: float
    end: float
    text: str


def parse_cues(text: str) -> list[Cue]:
    """The cues of a subtitle file in either format, in its order; markup, positions, notes and styles are left away.

    Raises:
        ValueError: a timing line is malformed or ends before it starts, or a file that is not blank has no cue.
    """
    cues: list[Cue] = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    row = 0
    while row < len(lines):
        line = lines[row]
        row += 1
        if line.startswith(("NOTE", "STYLE", "REGION")) and "-->" not in line:
            while row < len(lines) and lines[row].strip():
                row += 1
        elif "-->" in line:
            start, end = _timing(line, row)
            spoken = []
            while row < len(lines) and lines[row] and not _TIMING.fullmatch(lines[row]):
                spoken.append(_plain(lines[row]))
                row += 1
            if row < len(lines) and lines[row] and spoken and spoken[-1].isdigit():
                spoken.pop()  # the next cue's number, where no blank line stands between
            cues.append(Cue(start, end, "\n".join(line for line in spoken if line)))
    if not cues and text.strip() and not text.startswith("WEBVTT"):
        raise ValueError("row 1: no line with --> is in it, so it is neither SubRip nor WebVTT")
    return cues


def text_of(cues: Sequence[Cue], start: float = 0.0, end: float = float("inf")) -> str:
    """What is shown in the clip from ``start`` to ``end`` (seconds, the end not included), as one line.

    A cue counts when it overlaps the clip. A line that repeats the one before it, as in rolling captions, counts once.
    """
    lines: list[str] = []
    for cue in cues:
        if cue.start < end and (cue.end > start or cue.start == cue.end == start):
            for line in cue.text.split("\n"):
                if line and (not lines or lines[-1] != line):
                    lines.append(line)
    return " ".join(lines)


def _timing(line: str, row: int) -> tuple[float, float]:
    match = _TIMING.fullmatch(line)
    if match is None:
        raise ValueError(f"row {row}: {line.strip()[:60]!r} is not START --> END with times such as 00:01:02,500")
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end < start:
        raise ValueError(f"row {row}: a cue ends before it starts: {line.strip()[:60]!r}")
    return start, end


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


def _plain(line: str) -> str:
    return " ".join(_ENTITY.sub(lambda match: _ENTITIES[match[0]], _TAG.sub("", line)).split())
