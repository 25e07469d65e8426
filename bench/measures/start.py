"""The processor time of ``python -m PACKAGE --help``, with compiled bytecode and without, by turns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.measures.runs import CHECKOUT


def measure(package: str, scratch: Path, rounds: int) -> dict[str, Any]:
    """Medians of ``rounds`` turns, in seconds of all cores; the first start, in which bytecode may be written, is not
    counted."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    none = {**compiled, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(scratch)}
    _seconds(package, compiled)
    turns = [(_seconds(package, compiled), _seconds(package, none)) for _ in range(rounds)]
    with_it, without = (median(column) for column in zip(*turns, strict=True))
    return {
        "compiled_seconds": round(with_it, 2),
        "not_compiled_seconds": round(without, 2),
        "not_compiled_over_compiled": [round(slow / fast, 2) for fast, slow in turns],
    }


def _seconds(package: str, environment: Mapping[str, str]) -> float:
    process = subprocess.Popen(
        [sys.executable, "-m", package, "--help"], cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python -m {package} --help ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime
