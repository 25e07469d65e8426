"""Items that do to the process that works on them what a broken driver, a bomb or a hang would do, for tests.

The harm is done by the interpreter itself: ``environment`` puts a ``sitecustomize`` on its path that waits for an item
with one of these names to be opened.
"""

from __future__ import annotations

import os
from pathlib import Path

KILLS, STOPS, RAISES = "kills.mp4", "stops.mp4", "raises.mp4"

_SITECUSTOMIZE = f"""
import os, signal
original = os.open
def watched(path, *arguments, **options):
    if str(path).endswith({KILLS!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    if str(path).endswith({STOPS!r}):
        os.kill(os.getpid(), signal.SIGSTOP)
    if str(path).endswith({RAISES!r}):
        raise RuntimeError("the device is out of order")
    return original(path, *arguments, **options)
os.open = watched
"""


def environment(folder: Path) -> dict[str, str]:
    """Environment of a process, and of all that it starts, in which opening such an item is fatal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
