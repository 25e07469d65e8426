"""Why the curves of the proof are as they are: `make proof` leaves runs/proof-full, and this looks further into it.

python -m bench.proof                       # everything
python -m bench.proof --only seen --rounds 2
"""

from __future__ import annotations

from bench.command import Measure, bench_command
from bench.measures import longer, seen

MEASURES: dict[str, Measure] = {
    "longer": longer.measure,
    "seen": lambda scratch, rounds: seen.measure(rounds),
}

main = bench_command("proof", MEASURES, threads=1)

if __name__ == "__main__":
    main()
