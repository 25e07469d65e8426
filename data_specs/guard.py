"""Ends the tools that a process leaves behind when it is killed. A program of its own, started by ``media``.

    python -I -S guard.py PARENT TOKEN

It waits until it is no longer PARENT's child, then kills every process with TOKEN in its environment, and ends. No
number of a process is kept, so none can have passed to another process meanwhile; and a tool that was started in the
moment its parent died is found as well.
"""

from __future__ import annotations

import os
import signal
import sys
import time

VARIABLE = "REGIONVLP_GUARD"
_EVERY_S = 0.2
_SCANS = 3  # without a find; what is between fork and exec does not bear the token yet


def main(parent: int, token: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:
        time.sleep(_EVERY_S)
    clean = 0
    while clean < _SCANS:
        clean = 0 if kill_marked(token) else clean + 1
        time.sleep(_EVERY_S / 4)


def kill_marked(token: str) -> int:
    """Kills every other process that has the token in its environment; how many there were."""
    mark, found = f"{VARIABLE}={token}".encode(), 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:
                if mark in environment.read().split(b"\0"):
                    os.kill(int(name), signal.SIGKILL)
                    found += 1
        except OSError:  # it has ended, or is another user's
            continue
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
