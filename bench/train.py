"""Stage 2 measured, as ratios of things run by turns in one process on one machine.

python -m bench.train                        # everything
python -m bench.train --only step --rounds 5
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path = [str(CHECKOUT), *(folder for folder in sys.path if folder != str(CHECKOUT / "bench"))]  # it holds "train"

from bench.command import Measure, bench_command
from bench.measures import beginning, learning, loss, resume, step, streaming, waiting

MEASURES: dict[str, Measure] = {
    "loss": lambda scratch, rounds: loss.measure(rounds),
    "step": lambda scratch, rounds: step.measure(rounds),
    "streaming": streaming.measure,
    "waiting": waiting.measure,
    "resume": resume.measure,
    "learning": learning.measure,
    "beginning": lambda scratch, rounds: beginning.measure(rounds),
}

main = bench_command("train", MEASURES, threads=len(os.sched_getaffinity(0)))

if __name__ == "__main__":
    main()
