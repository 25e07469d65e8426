"""Two Ray workers against one: shards a second once the workers are at work, starts left out.

A worker's detector has one thread; its one decoder takes the rest of what a second core can give, so with few cores
two workers cannot be twice one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.measures.runs import CHECKOUT, VIDEOS, make_manifest

_PER_SHARD = 4


def measure(scratch: Path, rounds: int, videos: int = 120, frames: int = 8) -> dict[str, float]:
    """Medians over ``rounds``, by turns: shards a second of one and of two workers, and their ratio."""
    manifest = make_manifest(scratch, videos)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers, found in rates.items():
            found.append(_rate(manifest, scratch / f"{workers} workers {turn}", workers, frames))
    return {
        "videos": videos,
        "frames": frames,
        "one_worker_shards_a_second": round(statistics.median(rates[1]), 3),
        "two_workers_shards_a_second": round(statistics.median(rates[2]), 3),
        "two_over_one": round(statistics.median(b / a for a, b in zip(rates[1], rates[2], strict=True)), 2),
    }


def _rate(manifest: Path, out: Path, workers: int, frames: int) -> float:
    """Shards a second between the moment when every worker has one in hand and the last commit."""
    command = [sys.executable, "-m", "extract", "run", "--manifest", str(manifest), "--root", str(VIDEOS)]
    command += ["--out", str(out), "--workers", str(workers), "--frames", str(frames)]
    command += ["--videos-per-shard", str(_PER_SHARD)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(out.glob(".*.begun"))) < workers:
        time.sleep(0.01)
    began = time.time()
    _, said = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(said)
    commits = [path.stat().st_mtime for path in out.glob("train-*.json")]
    return sum(moment > began for moment in commits) / (max(commits) - began)
