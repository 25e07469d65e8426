"""Which processes run, and which of them a run has left, told by a variable in their environment."""

from __future__ import annotations

import time
from pathlib import Path


def alive_with(name: str, value: str, patience_s: float = 20.0) -> list[str]:
    """Command lines of processes that carry the variable, after they were given time to end."""
    deadline = time.monotonic() + patience_s
    while (found := carrying(name, value)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [title for _, title in found]


def carrying(name: str, value: str) -> list[tuple[int, str]]:
    """Process id and command line of every running process with this variable."""
    wanted, found = f"{name}={value}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, title = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue  # it ended meanwhile
        if state != "Z" and wanted in environment.split(b"\0"):
            found.append((int(process.name), title.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def parent_of(process: int) -> int:
    """The parent's process id; 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0
