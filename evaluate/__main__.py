"""Command line of the evaluator: parses, builds and calls."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.manifest import SPLITS, read_manifest
from data_specs.shard_index import read_labels
from data_specs.shards import file_sha256
from evaluate import metrics
from evaluate.report import PAGE_NAME, write_report
from evaluate.retrieval import (
    RESULT_NAME,
    RetrievalOptions,
    RetrievalResult,
    counted,
    evaluate_retrieval,
    model_hash,
    summary,
)
from train.model import RegionTextModel

EXISTING = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """How good a model is: figures with their protocol, counts and intervals, and a page to look at.

    Exit codes: 0 done, 1 something of the protocol is missing (listed), 2 bad usage or input.
    """


@main.command()
@click.option("--model", "model_folder", type=EXISTING, required=True, help="A run's model/ folder.")
@click.option("--shards", type=EXISTING, required=True, help="Folder of region shards (python -m extract run).")
@click.option("--manifest", type=EXISTING, required=True, help="Manifest that says what must be there.")
@click.option("--out", type=EXISTING, required=True, help="Folder for retrieval.json and retrieval.html.")
@click.option(
    "--split", "splits", multiple=True, metavar="|".join(SPLITS), help="Split to evaluate; repeat for several. [test]"
)
@click.option("--queries", type=click.Choice(["first", "all"]), help="Captions that ask. [as the protocol says]")
@click.option("--frames", type=click.IntRange(1), help="Frames a video. [as many as model and shards have]")
@click.option("--regions", type=click.IntRange(1), help="Regions a frame. [as many as model and shards have]")
@click.option("--allow-missing", is_flag=True, help="Go on without missing videos, and say 9/10 everywhere.")
@click.option("--media-root", type=EXISTING, help="Where the media are, for the page's frames.")
@click.option("--note", default="", help="A remark for the top of the page.")
@click.option("--device", default="cpu", show_default=True, help="Torch device, for example cuda.")
def retrieval(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, splits: tuple[str, ...], **settings: object,
) -> None:  # fmt: skip
    """Text-to-video and video-to-text retrieval: R@1, R@5, R@10, median and mean rank.

    Every video of the chosen splits must be in the shards: a figure over fewer candidates belongs to another protocol.
    Ties count with their expected rank, so a model that scores all pairs alike gets what chance gets.

    \b
    python -m evaluate retrieval --model runs/tune/model --shards shards/msrvtt \\
        --manifest msrvtt.parquet --media-root /data/msrvtt --out runs/tune/report
    """
    options = RetrievalOptions.model_validate({**settings, **({"splits": splits} if splits else {})})
    listed = read_manifest(manifest)
    model = RegionTextModel.from_pretrained(model_folder, device=_device(device))
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("embedding videos", total=None)
        found = evaluate_retrieval(
            model, model_hash(model_folder), shards, listed, file_sha256(manifest), out, options,
            progress=lambda done, of: bar.update(task, advance=done, total=of),
        )  # fmt: skip
    atomic.write_text(out / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")
    page = write_report(out / PAGE_NAME, found, model.loss.sharpness, media_root=media_root, labels=read_labels(shards))
    console.print(_table(found.result))
    click.echo(summary(found.result))
    click.echo(f"report: {page}")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def _table(result: RetrievalResult) -> Table:
    videos = counted(result.videos, result.videos_planned)
    table = Table(title=f"{result.protocol}, split {'+'.join(result.splits)}, {videos} videos")
    for name in ("", *metrics.FIGURES):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for title, direction in (("text to video", result.text_to_video), ("video to text", result.video_to_text)):
        table.add_row(title, *(f"{direction.figures[name]:.1f}" for name in metrics.FIGURES))
        bounds = [(direction.intervals[name], 1 if name in ("MedR", "MeanR") else 0) for name in metrics.FIGURES]
        table.add_row("  95 %", *(f"{low:.{n}f}–{high:.{n}f}" for (low, high), n in bounds), style="dim")
        table.add_row("  chance", *(f"{direction.chance[name]:.1f}" for name in metrics.FIGURES), style="dim")
    return table


if __name__ == "__main__":
    main(prog_name="python -m evaluate")
