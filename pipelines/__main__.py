"""Command line of whole runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipelines.pipeline import load_pipeline, pipeline_names, pipeline_tree
from pipelines.runner import run_pipeline


@click.group()
def main() -> None:
    """Whole runs: each is a YAML in pipelines/ whose steps are commands of the other packages."""


@main.command()
@click.argument("name")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A variable, or STEP.key of a step.")
def run(name: str, assignments: tuple[str, ...]) -> None:
    """Run a pipeline. A stopped one goes on with the same command.

    \b
    python -m pipelines run smoke
    python -m pipelines run extract --set dataset=msrvtt --set root=/data/msrvtt
    """
    pipeline, values = load_pipeline(name, assignments)
    run_pipeline(pipeline, values)


@main.command()
@click.argument("name")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As for `run`.")
@click.option("--quick", is_flag=True, help="Without the measured sample: no hours, and no detector is built.")
@click.option("--json", "as_json", type=click.Path(path_type=Path, dir_okay=False), help="Also write a JSON file.")
def doctor(name: str, assignments: tuple[str, ...], quick: bool, as_json: Path | None) -> None:
    """Look before a long run for what would fail in it, and say the way out. Nothing is run and nothing is changed.

    \b
    python -m pipelines doctor smoke
    python -m pipelines doctor extract --set dataset=msrvtt --set root=/data/msrvtt --json doctor.json

    Exit code 0 when nothing that was looked at would fail, 1 when something would, 2 on wrong usage.
    """
    from data_specs import atomic
    from pipelines.doctor import page
    from pipelines.doctor.diagnosis import diagnose
    from pipelines.doctor.finding import Level

    pipeline, values = load_pipeline(name, assignments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with Console(stderr=True).status("looking"):
        findings = diagnose(pipeline, values, quick)
    page.show(console, name, findings)
    if as_json is not None:
        atomic.write_text(as_json, page.as_json(name, values, findings))
    sys.exit(1 if any(finding.level is Level.FAILURE for finding in findings) else 0)


@main.command()
@click.option(
    "--scale", type=click.Choice(["full", "small"]), default="full", show_default=True, help="small: minutes."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Of everything. [runs/proof-SCALE]")
@click.option("--docs", type=click.Path(path_type=Path, file_okay=False), help="Where results.md goes. [OUT/docs]")
@click.option("--cores", type=click.IntRange(1), help="How many to keep busy. [all of the machine's]")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True, help="The others follow it.")
@click.option(
    "--despite-new-code",
    is_flag=True,
    help="Keep what other code finished; the next run without this makes it again.",
)
def proof(
    scale: str, out: Path | None, docs: Path | None, cores: int | None, first_seed: int, despite_new_code: bool
) -> None:
    """Measure the whole method on clips that make themselves, and write the page of what came out.

    \b
    python -m pipelines proof --docs docs
    python -m pipelines proof --scale small

    From nothing: clips, stage 1, pre-training, zero-shot retrieval, tuning, multiple choice, questions, and the
    published curves with three seeds (of the models; the clips are always the same). Stop it at any time; the same
    command goes on, and does only what is not done or whose inputs or code have changed.

    The page takes up two files, if they are in the folder "results" of DOCS: again.json, the results.json of a run with
    another --first-seed, with which it compares itself, and remarks.md, which ends it.

    Exit codes: 0 everything that is promised holds, 1 something does not, or a step failed; 2 wrong usage; 130 stopped.
    """
    from pipelines.proof.prove import prove
    from pipelines.proof.scale import SCALES

    cores = cores or len(os.sched_getaffinity(0))
    chosen = SCALES[scale].with_seeds_from(first_seed)
    sys.exit(prove(chosen, out or Path("runs") / f"proof-{scale}", docs, cores, despite_new_code))


@main.command("list")
def list_pipelines() -> None:
    """The pipelines and what they do."""
    table = Table("name", "what it does")
    for name in pipeline_names():
        table.add_row(name, pipeline_tree(name)["about"])
    Console().print(table)


@main.command()
@click.argument("name")
def show(name: str) -> None:
    """The variables of a pipeline, with their defaults."""
    tree = pipeline_tree(name)
    table = Table("variable", "default", "what it is", title=f"{name}: {tree['about']}")
    for key, variable in tree["variables"].items():
        default = "must be given" if variable.get("required") else str(variable.get("default"))
        table.add_row(key, default, variable["about"])
    Console().print(table)
    for number, step in enumerate(tree["steps"], 1):
        condition = "".join(f", {word} {name}" for word in ("when", "unless") for name in _names(step.get(word)))
        click.echo(f"{number}. {step['about']}{condition}: python -m {' '.join(step['command'])}")


def _names(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else given or []


if __name__ == "__main__":
    main(prog_name="python -m pipelines")
