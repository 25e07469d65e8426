"""``python -m evaluate multiple-choice``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_specs.shard_index import read_labels
from evaluate.commands.cache import cache_options, opened_store
from evaluate.commands.options import chosen, evaluation_options, plainly, tell_setting, title_of
from evaluate.commands.out_folder import begin, writing_to
from evaluate.commands.ranks import among_ranks
from evaluate.inputs import open_inputs
from evaluate.multiple_choice import (
    RESULT_NAME,
    TABLE_NAME,
    MultipleChoiceOptions,
    evaluate_multiple_choice,
    summary,
    write_choices,
)
from evaluate.reports.multiple_choice import PAGE_NAME, PICTURE_NAME, write_report
from evaluate.result import MultipleChoiceResult, counted
from train.device import choose_device
from train.model import RegionTextModel


@click.command("multiple-choice")
@evaluation_options
@cache_options
@click.option("--batch-size", type=click.IntRange(1), help="Through the model at once, for small memories. [by tokens]")
def multiple_choice(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, cache: Path | None, no_cache: bool, **settings: object,
) -> None:  # fmt: skip
    """Which of a question's options belongs to the clip: the one with the highest score. A retrieval model serves.

    Every video that a question of the chosen splits asks about must be in the shards. Options that tie at the top share
    the point, so a model that scores all of them alike gets what chance gets. choices.parquet has the scores of every
    question, to compute the figures again. An earlier result in OUT is removed first.

    \b
    python -m evaluate multiple-choice --model runs/tune/model --shards shards/msrvtt \\
        --manifest msrvtt_mc.parquet --media-root /data/msrvtt --out runs/tune/report

    On several devices: torchrun --nproc-per-node 4 -m evaluate multiple-choice ..., with the same figures.
    """
    options = MultipleChoiceOptions.model_validate(chosen(**settings))
    with among_ranks(device) as ranks:
        console = Console(stderr=True, quiet=not ranks.is_first)
        ranks.agree(lambda: begin(out, (RESULT_NAME, TABLE_NAME, PAGE_NAME, PICTURE_NAME)) if ranks.is_first else None)
        inputs = ranks.agree(lambda: open_inputs(model_folder, shards, manifest))
        own = ranks.agree(lambda: choose_device(device, ranks.local))
        model = ranks.agree(lambda: inputs.load(lambda folder: RegionTextModel.from_pretrained(folder, device=own)))
        with (
            Progress(console=console, transient=True) as bar,
            opened_store(
                "multiple-choice", out, cache, no_cache, inputs.model_sha256, ranks, plainly(bar.console)
            ) as store,
        ):
            task = bar.add_task("embedding videos", total=None)
            found = evaluate_multiple_choice(
                model, inputs, out, options, store,
                progress=lambda done, of: bar.update(task, advance=done, total=of),
            )  # fmt: skip
        if found is not None:
            with writing_to(out):
                write_choices(out, found)  # first: hours of work do not hang on a drawing
                page = write_report(
                    out / PAGE_NAME, found, model.loss, media_root=media_root, labels=read_labels(shards)
                )
            _tell(console, found.result, page)


def _tell(console: Console, result: MultipleChoiceResult, page: Path) -> None:
    console.print(_table(result))
    tell_setting(console, result.setting)
    click.echo(summary(result))
    click.echo(f"report: {page}")


def _table(result: MultipleChoiceResult) -> Table:
    table = Table(title=title_of(result))
    table.add_column("")
    for name in ("accuracy", "95 %", "optimistic", "chance", "questions"):
        table.add_column(name, justify="right", no_wrap=True)
    low, high = result.accuracy_interval
    table.add_row(
        f"one of {', '.join(map(str, result.options))}", f"{result.accuracy:.1f}", f"{low:.1f}–{high:.1f}",
        f"{result.optimistic:.1f}", f"{result.chance:.1f}", counted(result.questions, result.questions_planned),
    )  # fmt: skip
    return table
