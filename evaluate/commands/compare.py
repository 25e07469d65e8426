"""``python -m evaluate compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluate.commands.options import EXISTING
from evaluate.commands.out_folder import writing_to
from evaluate.comparison.groups import Group, apart, differences, grouped
from evaluate.comparison.page import PICTURE_NAME, write_comparison
from evaluate.comparison.pairs import pairs
from evaluate.comparison.runs import Measure, read_runs

_WIDEST = 200


@click.command()
@click.argument("runs", nargs=-1, required=True, type=EXISTING, metavar="RUN...")
@click.option("--out", type=EXISTING, required=True, help="Folder for compare.html and compare.png.")
def compare(runs: tuple[Path, ...], out: Path) -> None:
    """Results side by side, and accuracy against frames and against regions.

    A RUN is a folder that an evaluation wrote (its --out, or the run's folder with that in report/), or one of its JSON
    files. Results are put together where task, protocol, splits and what is missing are the same; others stand in
    tables of their own, with the reason. Where runs wrote a table of their answers, each is compared with the first
    question by question (paired bootstrap over videos).

    \b
    python -m evaluate compare runs/frames1 runs/frames4 runs/frames8 --out runs/frames
    """
    groups = grouped(read_runs(runs))
    with writing_to(out):
        page = write_comparison(out, groups)
    for i, group in enumerate(groups):
        _print(_table(group), _remarks(group, groups[:i]))
    click.echo(f"page: {page}")
    click.echo(f"picture: {page.with_name(PICTURE_NAME)}")


def _table(group: Group) -> Table:
    key = group.key
    table = Table(
        title=Text(f"{key.title}, split {'+'.join(key.splits)}, {key.counted}"),
        title_justify="left",
        title_style="bold",
    )
    names = list(group.runs[0].measures)
    table.add_column("run", overflow="fold", min_width=10)
    for name in ("frames", "regions", "setting", *names):
        table.add_column(name, justify="left" if name == "setting" else "right", no_wrap=True)
    for run in group.runs:
        result = run.result
        told = [_told(measure, first=i == 0) for i, measure in enumerate(run.measures.values())]
        table.add_row(Text(run.label), str(result.frames), str(result.regions), result.setting, *told)
    return table


def _told(measure: Measure, first: bool) -> str:
    if not first or measure.interval is None:
        return f"{measure.value:.1f}"
    return f"{measure.value:.1f} ({measure.low:.1f}–{measure.high:.1f})"


def _remarks(group: Group, before: Sequence[Group]) -> list[str]:
    same_task = [other for other in before if other.key.task == group.key.task]
    remarks = [
        f"not compared with {other.key.title}, {other.key.counted}: {', '.join(apart(group.key, other.key))}"
        for other in same_task
    ]
    also = differences(group.runs)
    if also:
        remarks.append(f"beside frames and regions the runs differ in: {', '.join(also)}")
    return [*remarks, *map(str, pairs(group))]


def _print(table: Table, remarks: Sequence[str]) -> None:
    """On a terminal as wide as that is; else as wide as the table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_WIDEST).measure(table).maximum)
    console.print(table)
    for remark in remarks:
        click.echo(remark)
