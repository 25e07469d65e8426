"""Commands that bring a detector's weights: ``convert`` published ones, ``train-shapes-detector`` the small one."""

from __future__ import annotations

from pathlib import Path

import click

from extract.commands.options import FILE, FOLDER


@click.command()
@click.argument("source", type=FILE)
@click.option("--out", type=FILE, required=True, help="The .safetensors file to write.")
@click.option("--sha256", required=True, help="The file's hash as its publisher states it; checked before it is read.")
def convert(source: Path, out: Path, sha256: str) -> None:
    """Convert published detector weights (.pkl, .pth) to safetensors, once.

    \b
    python -m extract convert model_final_298dad.pkl --sha256 ... --out weights/coco-r101-c4.safetensors

    Exit codes: 0 written; 2 another hash than stated, or not weights that can be read safely.
    """
    from extract.convert import convert as convert_weights

    click.echo(f"{out}: {convert_weights(source, out, sha256)} tensors")


@click.command("train-shapes-detector")
@click.option("--start", type=FILE, help="Go on from these weights with the last phase alone.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Frames a step.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--scenes", type=click.IntRange(1), default=500, show_default=True, help="Unseen scenes for the recall.")
@click.option(
    "--out", type=FOLDER, help="Where to write shapes.safetensors and the recall; default: extract/detectors."
)
def train_shapes_detector(start: Path | None, batch: int, seed: int, scenes: int, out: Path | None) -> None:
    """Make the embedded detector again: train it on scenes of `shapes`, measure its recall on unseen ones.

    \b
    python -m extract train-shapes-detector --out /tmp/detector

    Exit codes: 0 written; 2 wrong options.
    """
    from extract.shapes_detector import make_detector

    recall = make_detector(out, start=start, batch=batch, seed=seed, scenes=scenes)
    click.echo(
        f"recall of {recall.objects} objects on {scenes} unseen scenes at IoU 0.5, right shape and colour:"
        f" {recall.found:.1%} among 30 regions, {recall.confident:.1%} scored at least 0.5"
    )
