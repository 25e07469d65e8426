"""Command line of stage 1."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from data_specs import atomic, shard_index, shards
from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import SPLITS, read_manifest
from data_specs.samples import Sample, SampleError
from data_specs.shards import ShardError
from extract.sampling import RULES, SEGMENT_MIDDLES

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def main() -> None:
    """Stage 1: media to region shards.

    ffmpeg samples sparse frames, a detectron2 Faster R-CNN keeps the most confident regions of each, and they go into
    WebDataset tars that are whole or absent. Everything can be stopped at any time and run again.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")


@main.command()
@click.option("--manifest", type=FILE, required=True, help="What to extract: from `python -m data_specs build`.")
@click.option("--root", type=FOLDER, required=True, help="The media root that the manifest's paths start from.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the shards; committed ones in it are kept.")
@click.option("--detector", default="shapes", show_default=True, help="A preset's name, or a .yaml file of your own.")
@click.option("--split", help=f"Only this split ({', '.join(SPLITS)}); default: all.")
@click.option("--frames", type=click.IntRange(1, 4096), default=8, show_default=True, help="Frames a clip.")
@click.option("--sampling", type=click.Choice(RULES), default=SEGMENT_MIDDLES, show_default=True, help="Which frames.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of segment-random.")
@click.option("--regions", type=click.IntRange(1, 1024), default=30, show_default=True, help="Regions a frame.")
@click.option("--videos-per-shard", type=click.IntRange(1), default=256, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Ray workers; 0: no Ray.")
@click.option("--address", help="Address of a running Ray cluster; default: one of its own on this machine.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override, e.g. detector.nms=0.3.")
def run(
    manifest: Path,
    root: Path,
    out: Path,
    detector: str,
    split: str | None,
    videos_per_shard: int,
    workers: int,
    address: str | None,
    **options: object,
) -> None:
    """Extract regions of every item of a manifest.

    \b
    python -m extract run --manifest msrvtt.parquet --root /data/msrvtt --out shards/msrvtt --workers 2

    Exit code 1 when some items gave no sample; `coverage` lists them with the reason.
    """
    from extract.driver import run_extraction
    from extract.plan import Plan
    from extract.settings import make_settings, provenance

    settings = make_settings(detector, options.pop("assignments"), root=root, out=out, **options)
    items = read_manifest(manifest)
    plan = Plan(items, split, videos_per_shard)
    made_with = provenance(settings, items, manifest)
    try:
        outcome = run_extraction(settings, plan, made_with, workers, address)
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; committed shards stay in {out}; the same command goes on") from None
    except (ShardError, SampleError, OSError) as error:
        raise click.ClickException(f"{error}; committed shards stay in {out}; the same command goes on") from None
    click.echo(
        f"{out}: {outcome.made} shards made, {outcome.skipped} were there; {outcome.index.num_samples} samples,"
        f" {outcome.index.num_regions} regions, {outcome.failures} of {plan.num_items} items failed"
    )
    if outcome.failures:
        click.echo(f"see: python -m extract coverage {out} --manifest {manifest}", err=True)
        sys.exit(1)


@main.command()
@click.argument("folder", type=FOLDER, metavar="SHARDS")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Shards checked at a time.")
def verify(folder: Path, threads: int) -> None:
    """Check hashes, counts and every sample of a folder of shards. Exit code 1 when something is wrong."""
    from rich.progress import Progress

    from extract.verify import verify as check

    total = len(list(folder.glob("*.tar")))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verify", total=total)
        found = check(folder, threads, lambda: progress.advance(task))
    for problem in found.problems:
        click.echo(problem, err=True)
    click.echo(
        f"{folder}: {found.shards} shards, {found.samples} samples, {found.regions} regions,"
        f" {found.failures} failures recorded, {len(found.problems)} problems"
    )
    sys.exit(1 if found.problems else 0)


@main.command()
@click.argument("folder", type=FOLDER, metavar="SHARDS")
@click.option("--manifest", type=FILE, required=True)
@click.option("--split", help="Only this split; default: all.")
@click.option("--json", "as_json", type=FILE, help="Also write everything to this JSON file.")
def coverage(folder: Path, manifest: Path, split: str | None, as_json: Path | None) -> None:
    """What of a manifest is in the shards, and why the rest is not. Exit code 1 unless all of it is."""
    from extract.coverage import measure_coverage

    try:
        found = measure_coverage(folder, shards.records(folder), read_manifest(manifest), split)
    except ShardError as error:
        raise click.ClickException(str(error)) from None
    table = Table("split", "expected", "extracted", "failed", "not tried", "reasons", title=str(folder))
    for name, split in found.splits.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(split.reasons.items()))
        table.add_row(
            name, *(f"{n:,}" for n in (split.expected, split.extracted, split.failed, split.pending)), reasons
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for failure in found.failures:
        console.print(
            f"{failure.id}  {failure.reason}  {failure.detail}", markup=False, highlight=False, soft_wrap=True
        )
    for identifier in found.foreign:
        console.print(f"{identifier}  is not in the manifest", markup=False, highlight=False)
    if as_json:
        atomic.write_text(as_json, json.dumps(found.as_dict(), indent=1, ensure_ascii=False) + "\n")
    sys.exit(0 if found.complete else 1)


@main.command()
@click.argument("folder", type=FOLDER, metavar="SHARDS")
@click.argument("identifier", metavar="ID")
@click.option("--out", type=FILE, required=True, help="The PNG to write.")
@click.option("--frame", type=click.IntRange(1), default=1, show_default=True, help="Which of the sample's frames.")
@click.option("--manifest", type=FILE, help="With --root: draw over the frame itself, not over grey.")
@click.option("--root", type=FOLDER, help="The media root.")
def show(folder: Path, identifier: str, out: Path, frame: int, manifest: Path | None, root: Path | None) -> None:
    """Draw a frame with its regions, their labels and scores.

    \b
    python -m extract show shards/msrvtt video7 --out video7.png --manifest msrvtt.parquet --root /data/msrvtt
    """
    from extract.drawing import draw_regions

    sample = _find_sample(folder, identifier)
    if frame > len(sample.timestamps):
        raise InputError(f"--frame {frame}: sample {identifier!r} has {len(sample.timestamps)} frames")
    if (manifest is None) != (root is None):
        raise InputError("--manifest and --root are given together or not at all")
    image = None
    if manifest is not None and root is not None:
        image = _frame_image(manifest, root, sample, frame - 1)
    picture = draw_regions(sample, frame - 1, image, shard_index.read_labels(folder))
    with atomic.replacing(out) as temporary:
        picture.save(temporary, "PNG")
    click.echo(str(out))


@main.command()
@click.argument("source", type=FILE)
@click.option("--out", type=FILE, required=True, help="The .safetensors file to write.")
@click.option("--sha256", required=True, help="The file's hash as its publisher states it; checked before it is read.")
def convert(source: Path, out: Path, sha256: str) -> None:
    """Convert published detector weights (.pkl, .pth) to safetensors, once.

    \b
    python -m extract convert model_final_298dad.pkl --sha256 ... --out weights/coco-r101-c4.safetensors
    """
    from extract.convert import convert as convert_weights

    click.echo(f"{out}: {convert_weights(source, out, sha256)} tensors")


@main.command("train-shapes-detector")
@click.option("--start", type=FILE, help="Go on from these weights with the last phase alone.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Frames a step.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--scenes", type=click.IntRange(1), default=500, show_default=True, help="Unseen scenes for the recall.")
@click.option(
    "--out", type=FOLDER, help="Where to write shapes.safetensors and the recall; default: extract/detectors."
)
def train_shapes_detector(start: Path | None, batch: int, seed: int, scenes: int, out: Path | None) -> None:
    """Make the embedded detector again: train it on scenes of `shapes`, measure its recall on unseen ones."""
    from extract.shapes_detector import make_detector

    recall = make_detector(out, start=start, batch=batch, seed=seed, scenes=scenes)
    click.echo(
        f"recall of {recall.objects} objects on {scenes} unseen scenes at IoU 0.5, right shape and colour:"
        f" {recall.found:.1%} among 30 regions, {recall.confident:.1%} scored at least 0.5"
    )


def _find_sample(folder: Path, identifier: str) -> Sample:
    try:
        for record in shards.records(folder):
            path = folder / record.shard
            if identifier in set(shards.iterate_keys(path)):
                return next(sample for sample in shards.iterate_shard(path) if sample.id == identifier)
            failed = [failure for failure in record.failures if failure.id == identifier]
            if failed:
                raise InputError(f"{identifier!r} gave no sample: {failed[0].reason}: {failed[0].detail}")
    except (ShardError, SampleError) as error:
        raise click.ClickException(str(error)) from None
    raise InputError(f"{identifier!r} is in no shard of {folder}")


def _frame_image(manifest: Path, root: Path, sample: Sample, frame: int) -> np.ndarray:
    from data_specs.media import Limits, opened
    from data_specs.probe import probe
    from extract.frames import decode

    item = next((item for item in read_manifest(manifest) if item.id == sample.id), None)
    if item is None:
        raise InputError(f"{manifest}: has no row with id {sample.id!r}")
    try:
        with opened(root / item.path) as descriptor:
            found = probe(descriptor, Limits())
            return decode(descriptor, found, [found.frame_at(sample.timestamps[frame])], Limits())[0]
    except MediaError as error:
        raise InputError(f"{root / item.path}: {error}") from None


if __name__ == "__main__":
    main(prog_name="python -m extract")
