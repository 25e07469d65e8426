"""Peak memory of an extraction against the number of its videos, each run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.measures.runs import CHECKOUT, VIDEOS, make_manifest

COUNTS = (100, 1000)


def measure(scratch: Path, rounds: int) -> dict[str, float]:
    """The largest resident size over ``rounds``, in MB, for a hundred and for a thousand videos, and their ratio."""
    peaks: dict[int, float] = dict.fromkeys(COUNTS, 0.0)
    for turn in range(rounds):
        for videos in COUNTS:
            out = scratch / f"{videos} videos {turn}"
            peaks[videos] = max(peaks[videos], _peak_mb(make_manifest(scratch, videos), out))
    few, many = peaks.values()
    return {f"peak_mb_{n}_videos": round(peak) for n, peak in peaks.items()} | {"many_over_few": round(many / few, 3)}


def _peak_mb(manifest: Path, out: Path) -> float:
    command = [sys.executable, "-m", "extract", "run", "--manifest", str(manifest), "--root", str(VIDEOS)]
    command += ["--out", str(out), "--frames", "1", "--videos-per-shard", "25"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss / 1024
