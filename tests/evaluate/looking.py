"""What tests look at pages with: a strict parser, and a video whose frames can be told from each other."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from data_specs.media import Limits, find_tool, run_tool

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags close in order and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, tag: str, name: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag and name in (attrs.get("class") or "").split()]


def made_video(folder: Path, name: str = "grey.avi") -> Path:
    """Ten frames at 5 a second; frame i is grey of level 20 i + 10, so that each can be told from the others."""
    frames = np.repeat(np.arange(10, dtype=np.uint8) * 20 + 10, 48 * 64)
    raw, path = folder / "frames.gray", folder / name
    raw.write_bytes(frames.tobytes())
    arguments = "-v error -f rawvideo -pix_fmt gray -s 64x48 -r 5 -i pipe:0 -c:v mjpeg -q:v 2 -pix_fmt yuvj420p -y"
    with raw.open("rb") as stream:
        done = run_tool([str(find_tool("ffmpeg")), *arguments.split(), str(path)], Limits(), stdin=stream)
    assert done.returncode == 0, done.stderr
    return path
