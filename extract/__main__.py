"""Command line of stage 1: the door that assembles the commands of ``extract/commands``."""

from __future__ import annotations

import logging

import click

from extract.commands import looking, making, weights


@click.group()
def main() -> None:
    """Stage 1: media to region shards.

    ffmpeg samples sparse frames, a detectron2 Faster R-CNN keeps the most confident regions of each, and they go into
    WebDataset tars that are whole or absent. Everything can be stopped at any time and run again.

    Exit codes of every command: 0 done; 1 finished, but something failed or is missing, and is listed; 2 wrong usage,
    configuration or input, said in one line.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")


for command in (
    making.run,
    making.retry,
    making.import_npz,
    making.thin,
    looking.verify,
    looking.coverage,
    looking.show,
    looking.cost,
    weights.convert,
    weights.train_shapes_detector,
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="python -m extract")
