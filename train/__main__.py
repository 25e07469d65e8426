"""Stage 2 from the command line: ``python -m train run CONFIG.yaml``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_specs.configuration import load
from train.config import TrainConfig

if TYPE_CHECKING:
    from train.trainer import Outcome

EXIT_INCOMPLETE, EXIT_INTERRUPTED = 1, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Trains a video-language model on region shards (stage 2)."""


_config = click.argument("config", type=click.Path(path_type=Path))
_set = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Changes one key, e.g. optimiser.lr=1e-4."
)


@main.command()
@_config
@_set
@click.option("--resume", is_flag=True, help="Goes on with the run in the folder `out`, exactly where it was saved.")
@click.option("--workers", default=0, type=click.IntRange(0), help="Ray workers, one a GPU; 0: without Ray.")
@click.option("--min-workers", type=int, help="With Ray: goes on with so few after a failure. Default: --workers.")
@click.option("--address", metavar="RAY", help="Of a Ray cluster; default: one on this machine.")
@click.option("--max-failures", default=3, show_default=True, type=click.IntRange(0), help="With Ray, in a row.")
def run(config: Path, assignments: tuple[str, ...], resume: bool, workers: int, **cluster: int | str | None) -> None:
    """Trains as CONFIG, a YAML file, says.

    The file names the shards (data.shards, folders made by `python -m extract run`), the run folder (out) and a model
    preset (model.preset: tiny, small or base); everything else has a default, and the resolved whole is written to
    config.yaml in the run folder. That folder also gets metrics.jsonl (a line a step), TensorBoard events,
    checkpoints/ and, at the end, model/ for `python -m evaluate`.

    \b
    A small CONFIG:
      out: runs/first
      model: {preset: tiny, feature_dim: 2048}
      data: {shards: [shards/msrvtt], splits: [train], frames: 4, batch_size: 32}
      epochs: 10

    \b
    Several processes that learn together, one a GPU:
      torchrun --nproc-per-node 8 -m train run CONFIG.yaml
      python -m train run CONFIG.yaml --workers 8                   (on Ray, and on its clusters)

    Ctrl-C finishes the step, saves and stops, and so does SIGTERM; SIGUSR1 saves and goes on. --resume goes on, exactly
    where it was saved. Exit codes: 0 done, or saved upon SIGTERM; 1 done but samples could not be read (listed), or
    training diverged; 2 wrong input or configuration; 130 interrupted.
    """
    if (min_workers := cluster.get("min_workers")) is not None and not workers:
        raise click.UsageError(f"--min-workers {min_workers} is for Ray: give --workers, too")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # by default it kills, and there is nothing to save yet
    settings = load(TrainConfig, config, assignments)
    from transformers.utils import logging  # torch and transformers take seconds: --help and a typo should not

    logging.disable_progress_bar()
    raise SystemExit(_report(_train(settings, resume, workers, **cluster)))


def _train(
    settings: TrainConfig, resume: bool, workers: int, min_workers: int | None, address: str | None, max_failures: int
) -> Outcome:
    if not workers:
        from train.trainer import train

        return train(settings, resume)
    from train.cluster import train_on_cluster  # Ray is only needed here

    return train_on_cluster(settings, resume, workers, address, min_workers, max_failures)


def _report(outcome: Outcome) -> int:
    """Says on the first rank how a run ended; returns the exit code."""
    if os.environ.get("RANK", "0") == "0":
        for line in outcome.corrupt:
            click.echo(f"could not be read: {line}", err=True)
        if outcome.model is not None:
            click.echo(f"{outcome.steps} steps done; model: {outcome.model}")
    if outcome.model is None:
        return EXIT_INTERRUPTED if outcome.interrupted else 0
    return EXIT_INCOMPLETE if outcome.corrupt else 0


@main.command("import-release")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new model/ folder.")
@click.option(
    "--tokenizer",
    default="distilbert-base-uncased",
    show_default=True,
    help="Folder or hub name that the word pieces come from; minilm: the same vocabulary, without a network.",
)
@click.option(
    "--inert", multiple=True, metavar="MODULE.CLASS", help="A further class in the file, read as an empty stand-in."
)
@click.option("--frames", type=click.IntRange(1), help="Of the model, where not the checkpoint's.")
@click.option(
    "--temporal",
    type=click.Choice(["zeros", "interpolate"]),
    default="zeros",
    show_default=True,
    help="What more frames add to the temporal table.",
)
def import_release(
    checkpoint: Path, out: Path, tokenizer: str, inert: tuple[str, ...], frames: int | None, temporal: str
) -> None:
    """Writes CHECKPOINT, a .pth that the authors published, as a model that evaluates and fine-tunes here.

    Nothing in the file is run: tensors are read, the configuration and optimizer beside them are not. Every tensor is
    accounted for, here and in import.json of the new folder. Use it with `python -m evaluate ... --model OUT`, or as
    `start: {model: OUT}` of a run. Exit codes: 0 done, 2 not such a checkpoint, or wrong usage.
    """
    from transformers.utils import logging

    from train import release

    logging.disable_progress_bar()
    account = release.import_release(checkpoint, out, tokenizer, inert=inert, frames=frames, temporal=temporal)
    for line in account.lines():
        click.echo(line)
    click.echo(f"model: {out}")


@main.command("make-text-encoder")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new folder.")
@click.option("--width", type=click.IntRange(8), default=128, show_default=True)
@click.option("--layers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--heads", type=click.IntRange(1), default=4, show_default=True)
@click.option("--vocabulary", type=click.IntRange(1), default=30_000, show_default=True, help="Words, at most.")
@click.option(
    "--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True, help="While training."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def make_text_encoder_command(manifest: Path, out: Path, dropout: float, **sizes: int) -> None:
    """Writes a small text encoder with random weights that knows the words of MANIFEST's training split.

    For captions of a small world or in a language that no pretrained encoder knows: it learns with the rest of the
    model. Use it with `model: {text_encoder: OUT}` of a run.
    """
    from data_specs.manifest import read_manifest
    from train.fresh_text_encoder import make_text_encoder

    pieces = make_text_encoder(out, read_manifest(manifest), dropout=dropout, **sizes)
    click.echo(f"text encoder: {out} ({pieces} word pieces)")


@main.command()
@_config
@_set
@click.option("--ranks", default=1, type=click.IntRange(0), help="How many devices will learn together. Default: 1.")
@click.option("--samples", type=click.IntRange(2), help="So many that the shards will hold; they are not read.")
def estimate(config: Path, assignments: tuple[str, ...], ranks: int, samples: int | None) -> None:
    """Predicts what CONFIG will take: steps, hours, memory and disk.

    A few steps are made with the real model, on the first batches of the shards or, with --samples, on made-up ones.
    Nothing is written. Exit codes: 0 done, 2 wrong input or configuration.
    """
    settings = load(TrainConfig, config, assignments)
    from transformers.utils import logging

    from train.forecast.estimate import lines
    from train.forecast.trial import predict

    logging.disable_progress_bar()
    for line in lines(settings, predict(settings, max(1, ranks), samples)):
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="python -m train")
