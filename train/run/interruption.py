"""Signals of a run: Ctrl-C and SIGTERM end it after the step in hand, SIGUSR1 has it save and go on."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

STOP_NAME = ".stop"


class Interruptions:
    """What this process was told, while used as a context; Ctrl-C pressed again stops at once.

    A file ``.stop`` in the run folder says the same as SIGTERM, for those who cannot send signals to a run.
    interrupted, terminated: the run is to save and end. save: it is to save and go on; whoever does so clears it.
    """

    def __init__(self, run: Path) -> None:
        self.interrupted = self.terminated = self.save = False
        self._file = run / STOP_NAME
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruptions:
        self._file.unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():  # only that one may handle signals
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()
        self._file.unlink(missing_ok=True)

    def look(self) -> None:
        """Sees whether the file is there."""
        if self._file.exists():
            self.terminated = True

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save = True
        elif number == signal.SIGTERM:
            self.terminated = True
        elif self.interrupted:
            raise KeyboardInterrupt
        else:
            self.interrupted = True
