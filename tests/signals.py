"""Ctrl-C in tests, heard wherever these run: a shell's background jobs, and all that they start, ignore it."""

from __future__ import annotations

import sys

_HEARING = "import os, signal as s, sys; s.signal(s.SIGINT, s.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"


def hearing(command: list[str]) -> list[str]:
    """The same Python command, as started in the foreground."""
    return [sys.executable, "-c", _HEARING, *command]
