"""``python -m evaluate retrieval``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_specs import atomic
from data_specs.shard_index import read_labels
from evaluate import metrics
from evaluate.commands.options import chosen, evaluation_options, usable_device
from evaluate.inputs import open_inputs
from evaluate.reports.retrieval import PAGE_NAME, write_report
from evaluate.result import RetrievalResult, counted
from evaluate.retrieval import RESULT_NAME, RetrievalOptions, evaluate_retrieval, summary
from train.model import RegionTextModel


@click.command()
@evaluation_options
@click.option("--queries", type=click.Choice(["first", "all"]), help="Captions that ask. [as the protocol says]")
def retrieval(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, **settings: object,
) -> None:  # fmt: skip
    """Text-to-video and video-to-text retrieval: R@1, R@5, R@10, median and mean rank.

    Every video of the chosen splits must be in the shards: a figure over fewer candidates belongs to another protocol.
    Ties count with their expected rank, so a model that scores all pairs alike gets what chance gets.

    \b
    python -m evaluate retrieval --model runs/tune/model --shards shards/msrvtt \\
        --manifest msrvtt.parquet --media-root /data/msrvtt --out runs/tune/report
    """
    options = RetrievalOptions.model_validate(chosen(**settings))
    inputs = open_inputs(model_folder, shards, manifest)
    model = RegionTextModel.from_pretrained(model_folder, device=usable_device(device))
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("embedding videos", total=None)
        found = evaluate_retrieval(
            model, inputs, out, options,
            progress=lambda done, of: bar.update(task, advance=done, total=of),
        )  # fmt: skip
    atomic.write_text(out / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")
    page = write_report(out / PAGE_NAME, found, model.loss, media_root=media_root, labels=read_labels(shards))
    console.print(_table(found.result))
    click.echo(summary(found.result))
    click.echo(f"report: {page}")


def _table(result: RetrievalResult) -> Table:
    videos = counted(result.videos, result.videos_planned)
    table = Table(title=f"{result.protocol}, split {'+'.join(result.splits)}, {result.setting}, {videos} videos")
    for name in ("", *metrics.FIGURES):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for title, direction in (("text to video", result.text_to_video), ("video to text", result.video_to_text)):
        table.add_row(title, *(f"{direction.figures[name]:.1f}" for name in metrics.FIGURES))
        bounds = [(direction.intervals[name], 1 if name in ("MedR", "MeanR") else 0) for name in metrics.FIGURES]
        table.add_row("  95 %", *(f"{low:.{n}f}–{high:.{n}f}" for (low, high), n in bounds), style="dim")
        table.add_row("  chance", *(f"{direction.chance[name]:.1f}" for name in metrics.FIGURES), style="dim")
    return table
