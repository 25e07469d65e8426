"""Stage 1 measured, as ratios of things run by turns in one process or beside each other on one machine.

python -m bench.extract                      # everything; about half an hour on two cores
python -m bench.extract --only selection --only decoding --rounds 5
"""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path = [str(CHECKOUT), *(folder for folder in sys.path if folder != str(CHECKOUT / "bench"))]  # it holds "extract"

from bench.command import Measure, bench_command
from bench.measures import batching, decoding, memory, pipeline, plan, selection, workers

MEASURES: dict[str, Measure] = {
    "selection": lambda scratch, rounds: selection.measure(rounds),
    "batching": lambda scratch, rounds: batching.measure(rounds),
    "decoding": decoding.measure,
    "pipeline": pipeline.measure,
    "workers": workers.measure,
    "memory": memory.measure,
    "plan": plan.measure,
}

main = bench_command("extract", MEASURES, threads=1)

if __name__ == "__main__":
    main()
