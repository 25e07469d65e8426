"""How long a command takes to say what it can do, with bytecode that `make setup` compiled and with none.

python -m bench.start

None is what a container image gives that sets PYTHONDONTWRITEBYTECODE, where nothing has been compiled beforehand.
"""

from __future__ import annotations

from functools import partial

from bench.command import Measure, bench_command
from bench.measures import start

MEASURES: dict[str, Measure] = {
    package: partial(start.measure, package) for package in ("data_specs", "extract", "train", "evaluate", "pipelines")
}

main = bench_command("start", MEASURES, threads=1)

if __name__ == "__main__":
    main()
