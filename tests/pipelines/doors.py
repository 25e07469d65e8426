"""What ``make`` would run, for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def on_this_machine(arguments: list[str], media_root: Path) -> list[str]:
    """The same arguments with a folder of videos that is there."""
    named = [word == "--media-root" for word in ("", *arguments[:-1])]
    return [str(media_root) if is_root else word for is_root, word in zip(named, arguments, strict=True)]


def behind(target: str, *given: str) -> tuple[list[str], list[str]]:
    """The words of a target's command before its ``--set``, and what it sets. Nothing is set up or run."""
    command = ["make", "-s", "-o", "setup", "RUN=printf '%s\\n'", target, *given]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"]},  # nothing of a make that runs the tests
    )  # fmt: skip
    words = done.stdout.splitlines()
    first = words.index("--set") if "--set" in words else len(words)
    assert words[first::2] == ["--set"] * len(words[first::2])
    return words[:first], words[first + 1 :: 2]
