"""Processes that would outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import suppress


def end_with_parent() -> None:
    """Ends this process when that which started it is gone, however it ended; for a pool's ``initializer``."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        with suppress(OSError):
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
