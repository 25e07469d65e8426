"""The command line that benches of several measures share: which of them, how often, and where results are kept."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import torch

from data_specs import atomic

Measure = Callable[[Path, int], dict[str, Any]]
RESULTS = Path(__file__).parent / "results"


def bench_command(name: str, measures: Mapping[str, Measure], threads: int) -> click.Command:
    """The command of ``bench/NAME.py``, whose results go to ``results/NAME.json``.

    measures: each is given a scratch folder and the number of rounds. threads: of torch, in this process.
    """

    @click.command()
    @click.option("--only", multiple=True, type=click.Choice(list(measures)), help="Only these; default: all.")
    @click.option("--rounds", type=click.IntRange(2), default=3, show_default=True, help="Turns each contestant gets.")
    @click.option("--out", type=click.Path(path_type=Path), default=RESULTS / f"{name}.json", show_default=True)
    def main(only: tuple[str, ...], rounds: int, out: Path) -> None:
        """Measures, prints, and writes the result as JSON; what was measured before and not now is kept."""
        torch.set_num_threads(threads)
        found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
        for measure in only or measures:
            click.echo(f"{measure} ...", err=True)
            with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as scratch:
                measured = measures[measure](Path(scratch), rounds)
            found[measure] = {
                "command": f"python -m bench.{name} --only {measure} --rounds {rounds}",
                "machine": f"{os.cpu_count()} cores, {platform.system()}, torch {torch.__version__.partition('+')[0]}",
                **measured,
            }
            click.echo(json.dumps({measure: found[measure]}, indent=1))
            atomic.write_text(out, json.dumps(found, indent=1) + "\n")

    return main
