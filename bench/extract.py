"""Stage 1 measured, as ratios of things run by turns in one process or beside each other on one machine.

python -m bench.extract                      # everything; about half an hour on two cores
python -m bench.extract --only selection --only decoding --rounds 5
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
sys.path = [str(CHECKOUT), *(folder for folder in sys.path if folder != str(CHECKOUT / "bench"))]  # it holds "extract"

import click
import torch

from bench.measures import batching, decoding, memory, pipeline, plan, selection, workers
from data_specs import atomic

MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "selection": lambda scratch, rounds: selection.measure(rounds),
    "batching": lambda scratch, rounds: batching.measure(rounds),
    "decoding": decoding.measure,
    "pipeline": pipeline.measure,
    "workers": workers.measure,
    "memory": memory.measure,
    "plan": plan.measure,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)), help="Only these; default: all.")
@click.option("--rounds", type=click.IntRange(2), default=3, show_default=True, help="Turns each contestant gets.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=CHECKOUT / "bench/results/extract.json", show_default=True
)
def main(only: tuple[str, ...], rounds: int, out: Path) -> None:
    """Measures, prints, and writes the result as JSON; what was measured before and not now is kept."""
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    for name in only or MEASURES:
        click.echo(f"{name} ...", err=True)
        with tempfile.TemporaryDirectory(prefix="bench-extract-") as scratch:
            measured = MEASURES[name](Path(scratch), rounds)
        found[name] = {
            "command": f"python -m bench.extract --only {name} --rounds {rounds}",
            "machine": f"{os.cpu_count()} cores, {platform.system()}, torch {torch.__version__.partition('+')[0]}",
            **measured,
        }
        click.echo(json.dumps({name: found[name]}, indent=1))
        atomic.write_text(out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
