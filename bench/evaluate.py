"""Stage 3 measured, as ratios of things run by turns in one process on one machine.

python -m bench.evaluate                      # everything
python -m bench.evaluate --only scoring-100   # seconds
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path = [str(CHECKOUT), *(folder for folder in sys.path if folder != str(CHECKOUT / "bench"))]  # "evaluate" is there

from bench.command import Measure, bench_command
from bench.measures import scoring, tasks

MEASURES: dict[str, Measure] = {
    "scoring-100": lambda scratch, rounds: scoring.measure(100, 100, 30, rounds),
    "scoring-1000": lambda scratch, rounds: scoring.measure(1000, 1000, 30, rounds),
    "scoring-1000-captions": lambda scratch, rounds: scoring.measure(1000, 1000, 5, rounds),
    "tasks": tasks.measure,
}

main = bench_command("evaluate", MEASURES, threads=len(os.sched_getaffinity(0)))

if __name__ == "__main__":
    main()
