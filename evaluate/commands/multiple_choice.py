"""``python -m evaluate multiple-choice``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from evaluate.commands.options import chosen, evaluation_options, usable_device
from evaluate.inputs import open_inputs
from evaluate.multiple_choice import MultipleChoiceOptions, evaluate_multiple_choice, summary, write_choices
from evaluate.result import MultipleChoiceResult, counted
from train.model import RegionTextModel


@click.command("multiple-choice")
@evaluation_options
def multiple_choice(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, **settings: object,
) -> None:  # fmt: skip
    """Which of a question's options belongs to the clip: the one with the highest score. A retrieval model serves.

    Every video that a question of the chosen splits asks about must be in the shards. Options that tie at the top share
    the point, so a model that scores all of them alike gets what chance gets. choices.parquet has the scores of every
    question, to compute the figures again.

    \b
    python -m evaluate multiple-choice --model runs/tune/model --shards shards/msrvtt \\
        --manifest msrvtt_mc.parquet --out runs/tune/report
    """
    options = MultipleChoiceOptions.model_validate(chosen(**settings))
    inputs = open_inputs(model_folder, shards, manifest)
    model = RegionTextModel.from_pretrained(model_folder, device=usable_device(device))
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("embedding videos", total=None)
        found = evaluate_multiple_choice(
            model, inputs, out, options,
            progress=lambda done, of: bar.update(task, advance=done, total=of),
        )  # fmt: skip
    write_choices(out, found)
    console.print(_table(found.result))
    click.echo(summary(found.result))


def _table(result: MultipleChoiceResult) -> Table:
    videos = counted(result.videos, result.videos_planned)
    table = Table(title=f"{result.protocol}, split {'+'.join(result.splits)}, {result.setting}, {videos} videos")
    table.add_column("")
    for name in ("accuracy", "95 %", "optimistic", "chance", "questions"):
        table.add_column(name, justify="right", no_wrap=True)
    low, high = result.accuracy_interval
    sizes = ", ".join(map(str, result.options))
    table.add_row(
        f"one of {sizes}", f"{result.accuracy:.1f}", f"{low:.1f}–{high:.1f}", f"{result.optimistic:.1f}",
        f"{result.chance:.1f}", counted(result.questions, result.questions_planned),
    )  # fmt: skip
    return table
