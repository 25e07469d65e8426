"""Stage 2 from the command line: ``python -m train run CONFIG.yaml``."""

from __future__ import annotations

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

    Ctrl-C finishes the step, saves and stops; --resume goes on. Exit codes: 0 done, 1 done but samples could not be
    read (listed) or training diverged, 2 wrong input or configuration, 130 interrupted.
    """
    settings = load(TrainConfig, config, assignments)
    from transformers.utils import logging  # torch and transformers take seconds: --help and a typo should not

    logging.disable_progress_bar()
    outcome = _train(settings, resume, workers, **cluster)
    for line in outcome.corrupt:
        click.echo(f"could not be read: {line}", err=True)
    if outcome.model is None:
        raise SystemExit(EXIT_INTERRUPTED)
    click.echo(f"{outcome.steps} steps done; model: {outcome.model}")
    if outcome.corrupt:
        raise SystemExit(EXIT_INCOMPLETE)


def _train(
    settings: TrainConfig, resume: bool, workers: int, min_workers: int | None, address: str | None, max_failures: int
) -> Outcome:
    if not workers:
        from train.trainer import train

        return train(settings, resume)
    from train.cluster import train_on_cluster  # Ray is only needed here

    return train_on_cluster(settings, resume, workers, address, min_workers, max_failures)


@main.command()
@_config
@_set
@click.option("--ranks", default=1, type=click.IntRange(0), help="How many devices will learn together. Default: 1.")
@click.option("--samples", type=click.IntRange(2), help="How many the shards will hold, where they are not there yet.")
def estimate(config: Path, assignments: tuple[str, ...], ranks: int, samples: int | None) -> None:
    """Predicts what CONFIG will take: steps, hours, memory and disk.

    A few steps are made with the real model, on the first batches of the shards or, with --samples, on made-up ones.
    Nothing is written.
    """
    settings = load(TrainConfig, config, assignments)
    from transformers.utils import logging

    from train.estimate import lines, predict

    logging.disable_progress_bar()
    for line in lines(settings, predict(settings, max(1, ranks), samples)):
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="python -m train")
