"""Runs a pipeline: one process a step, in order, stopping at the first that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from data_specs import atomic
from data_specs.errors import InputError
from pipelines.filling import fill
from pipelines.pipeline import Expectation, Pipeline, Step, command_line, config_path, config_text

LEDGER = "pipeline.json"
Process = subprocess.Popen[bytes]


class StepFailed(click.ClickException):
    """A step ended with an exit code that it may not; the runner exits with the same one."""

    def __init__(self, step: Step, code: int, command: list[str], could_be_left_out: bool = False) -> None:
        without = f"; to go on without it: --set {step.when[0]}=false" if could_be_left_out else ""
        super().__init__(
            f"step {step.name!r} failed with exit code {code}; it was: python -m {' '.join(command)}{without}"
        )
        self.exit_code = code if code > 0 else 1


def run_pipeline(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """Runs every step that is not left out, and checks the expectations.

    Raises:
        StepFailed: a step failed; what it said stands above.
        InputError: something that is required is not there, or the folder of a fresh pipeline holds something that no
            pipeline made.
        click.ClickException: an expectation does not hold.
    """
    _prepare(pipeline, values)
    console = Console(stderr=True, highlight=False)
    table = Table("step", "seconds", title=f"{pipeline.name}: done")
    for number, step in enumerate(pipeline.steps, 1):
        console.print(f"\n[bold]\\[{number}/{len(pipeline.steps)}] {step.about}[/bold]")
        why = step.left_out(values)
        if why is not None:
            console.print(f"left out: {why}", style="yellow", markup=False, soft_wrap=True)
            table.add_row(step.about, "left out")
            continue
        command = command_line(step, values)
        console.print("python -m " + " ".join(command), style="dim", markup=False, soft_wrap=True)
        started = time.monotonic()
        code = _run(command)
        table.add_row(step.about, f"{time.monotonic() - started:.1f}")
        if code != 0 and code not in step.allow:
            raise StepFailed(step, code, command, step.is_automatic(values))
    console.print(table)
    for expectation in pipeline.expect:
        _check(expectation, values)
    if pipeline.epilogue:
        click.echo(fill(pipeline.epilogue, values).strip())


def _prepare(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """Looks at what must be there, and writes ledger and configurations."""
    if "://" in str(values["out"]):
        raise InputError(
            f"out={values['out']}: pipelines write to folders; URLs go to: python -m extract run --out URL"
        )
    out = Path(str(values["out"]))
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder; choose another with --set out=...")
    for requirement in pipeline.requires:
        path = Path(fill(requirement.path, values))
        if requirement.holds(values) and not path.exists():
            raise InputError(f"{path} is not there: {requirement.says}")
    if pipeline.fresh:
        _clear(out, pipeline)
    try:
        atomic.write_text(out / LEDGER, json.dumps({"pipeline": pipeline.name, "values": values}, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}; choose another with --set out=...") from None
    for step in pipeline.steps:
        if step.config is not None and step.switched_off(values) is None:
            atomic.write_text(config_path(step, values), config_text(step, values))


def start(
    command: Sequence[str], *, ranks: int = 1, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Process:
    """Starts ``python -m command``, by torchrun where it is for several ranks; what it says goes to ``log``."""
    several = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m") if ranks > 1 else ()
    arguments = [sys.executable, "-m", *several, *command]
    if log is None:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment)
    with log.open("ab") as said:
        return subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment
        )


def _run(command: list[str]) -> int:
    process = start(command)
    try:
        return process.wait()
    except KeyboardInterrupt:  # the step got the signal too and says itself how to go on
        process.wait()
        raise


def refuse_foreign(out: Path, pipeline: Pipeline) -> None:
    """Checks that a fresh pipeline may remove its former folder.

    Raises:
        InputError: the folder holds something that this pipeline did not make.
    """
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        made_by = json.loads((out / LEDGER).read_bytes())["pipeline"]
    except (OSError, ValueError, KeyError, TypeError):
        made_by = None
    if made_by != pipeline.name:
        raise InputError(f"{out} is not a former run of pipeline {pipeline.name!r}; empty it or choose --set out=...")


def _clear(out: Path, pipeline: Pipeline) -> None:
    refuse_foreign(out, pipeline)
    if out.exists() and any(out.iterdir()):
        shutil.rmtree(out)


def _check(expectation: Expectation, values: dict[str, Any]) -> None:
    path = Path(fill(expectation.file, values))
    node = json.loads(path.read_bytes())
    for part in expectation.key:
        node = node[part]
    if float(node) < expectation.at_least:
        raise click.ClickException(
            f"{expectation.says}: {'.'.join(expectation.key)} in {path} is {node}, expected at least"
            f" {expectation.at_least}"
        )
