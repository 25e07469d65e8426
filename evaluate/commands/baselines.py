"""``python -m evaluate bag-of-objects`` and ``oracle``: what a model's figures stand between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from data_specs import atomic
from data_specs.manifest import SPLITS
from evaluate import metrics
from evaluate.baselines.result import BaselineResult
from evaluate.commands.options import EXISTING
from evaluate.commands.out_folder import begin, writing_to
from evaluate.protocol import DEFAULT_SPLITS

_OPTIONS = (
    click.option("--manifest", type=EXISTING, required=True, help="Manifest that says what must be there."),
    click.option("--out", type=EXISTING, required=True, help="Folder for the result."),
    click.option(
        "--split", "splits", multiple=True, metavar="|".join(SPLITS), default=DEFAULT_SPLITS,
        help="Split to evaluate; repeat for several. [test]",
    ),
    click.option("--queries", type=click.Choice(["first", "all"]), help="Captions that ask. [as the protocol says]"),
    click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap."),
)  # fmt: skip


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("bag-of-objects")
@click.option("--shards", type=EXISTING, required=True, help="Folder of region shards (python -m extract run).")
@click.option("--confidence", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of an object.")
@_options
def bag_of_objects(
    shards: Path, confidence: float, manifest: Path, out: Path, splits: tuple[str, ...],
    queries: Literal["first", "all"] | None, resamples: int,
) -> None:  # fmt: skip
    """Retrieval without a model: BM25 over the class names of what the detector saw.

    \b
    python -m evaluate bag-of-objects --shards shards/shapes --manifest shapes.parquet --out runs/baselines
    """
    from evaluate.baselines.bag_of_objects import RESULT_NAME, evaluate_bag_of_objects

    begin(out, (RESULT_NAME,))
    _write(out / RESULT_NAME, evaluate_bag_of_objects(shards, manifest, out, splits, queries, confidence, resamples))


@click.command()
@click.option(
    "--root", type=EXISTING, required=True, help="Folder of the made clips (python -m data_specs make-shapes)."
)
@_options
def oracle(
    root: Path, manifest: Path, out: Path, splits: tuple[str, ...], queries: Literal["first", "all"] | None,
    resamples: int,
) -> None:  # fmt: skip
    """The ceiling on made clips: what reading the scene graphs behind them would score.

    \b
    python -m evaluate oracle --root data/shapes --manifest shapes.parquet --out runs/baselines
    """
    from evaluate.baselines.oracle import RESULT_NAME, evaluate_oracle

    begin(out, (RESULT_NAME,))
    _write(out / RESULT_NAME, evaluate_oracle(root, manifest, splits, queries, resamples))


def _write(path: Path, result: BaselineResult) -> None:
    with writing_to(path.parent):
        atomic.write_text(path, result.model_dump_json(indent=1) + "\n")
    forth, back = result.retrieval.text_to_video, result.retrieval.video_to_text
    click.echo(
        f"{result.name}: text-to-video {metrics.one_line(forth.figures)} | video-to-text"
        f" {metrics.one_line(back.figures)} ({result.protocol}, {result.videos} videos)"
    )
    for name, value in (("multiple choice", result.multiple_choice), ("questions", result.question_answering)):
        if value is not None:
            click.echo(f"{result.name}: {name} {value:.1f}")
