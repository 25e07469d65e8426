"""A plan of 2.5 million rows, with the hash of every shard, in a process of its own, beside a bare read of the file."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.measures.runs import CHECKOUT
from data_specs.manifest import Item, ManifestInfo, write_manifest

_CAPTION = "a man in a red shirt walks down the street with his dog and smiles, number"
_BARE = "import pyarrow.parquet as pq; pq.read_table(sys.argv[1]).to_pylist()"
_PLAN = (
    "from pathlib import Path; from data_specs.manifest import read_manifest; from extract.plan import Plan;"
    " [shard.hash for shard in Plan(read_manifest(Path(sys.argv[1])), None, 256)]"
)
_TIMED = """
import json, resource, sys, time
start = time.perf_counter()
{work}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.perf_counter() - start, peak]))
"""


def measure(scratch: Path, rounds: int, rows: int = 2_500_000) -> dict[str, float]:
    """Medians over ``rounds``, by turns: seconds and peak MB of the plan, and of reading the rows into Python."""
    manifest = scratch / "big.parquet"
    write_manifest(
        manifest,
        (Item(f"{n:08d}", f"{n // 1000:05d}/{n:08d}.mp4", "train", captions=(f"{_CAPTION} {n}",)) for n in range(rows)),
        ManifestInfo("bench"),
    )
    planned, bare = [], []
    for _ in range(rounds):
        bare.append(_run(_BARE, manifest))
        planned.append(_run(_PLAN, manifest))
    seconds, peak = (statistics.median(values) for values in zip(*planned, strict=True))
    return {
        "rows": rows,
        "plan_seconds": round(seconds, 1),
        "plan_peak_mb": round(peak),
        "bare_read_seconds": round(statistics.median(taken for taken, _ in bare), 1),
        "plan_over_bare_read": round(statistics.median(p / b for (p, _), (b, _) in zip(planned, bare, strict=True)), 2),
    }


def _run(work: str, manifest: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", _TIMED.format(work=work), str(manifest)]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak
