"""Commands that look at shards and change nothing: ``verify``, ``coverage``, ``show``, and ``cost`` before them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_specs.errors import InputError
from data_specs.location import Location
from extract.commands.options import (
    FILE,
    FOLDER,
    json_option,
    manifest_option,
    processes_option,
    root_option,
    shards_argument,
    split_option,
)

if TYPE_CHECKING:
    from data_specs.failures import Failure
    from extract.coverage import Coverage

_LISTED = 50


@click.command()
@shards_argument
@processes_option
@json_option
def verify(folder: Location, workers: int, as_json: Path | None) -> None:
    """Check hashes, counts and every sample of a folder of shards, and that it is one.

    \b
    python -m extract verify shards/msrvtt --json problems.json

    Found are: tars without a record and records without a tar, other bytes than were committed, samples that break
    the contract, ids that stand twice, leftover temporary files, shards made in different ways, an old index.
    Exit codes: 0 all is well; 1 something is wrong, and every problem is listed; 2 no shards.
    """
    from extract.commands.reading import reading
    from extract.verify import verify as check

    with reading("verify", folder) as advance:
        found = check(folder, workers, advance)
    for problem in found.problems:
        click.echo(printable(str(problem)), err=True)
    _write_json(as_json, found.as_dict())
    click.echo(
        f"{folder}: {found.shards} shards, {found.samples} samples, {found.regions} regions,"
        f" {found.failures} failures recorded, {len(found.problems)} problems"
    )
    sys.exit(1 if found.problems else 0)


@click.command()
@shards_argument
@manifest_option
@split_option
@click.option("--failures", type=FILE, help="Write every failed id to this CSV file: id, reason, detail.")
@json_option
@processes_option
def coverage(
    folder: Location, manifest: Path, split: str | None, failures: Path | None, as_json: Path | None, workers: int
) -> None:
    """What of a manifest is in the shards, and why the rest is not.

    \b
    python -m extract coverage shards/msrvtt --manifest msrvtt.parquet --failures failed.csv

    What failed and was made good by `retry` counts as extracted; what failed again counts with its latest reason.
    Exit codes: 0 every row is in the shards; 1 some are not; 2 no shards or no such manifest.
    """
    from data_specs.manifest import read_manifest
    from extract.commands.reading import reading
    from extract.coverage import measure_coverage

    items = read_manifest(manifest)
    with reading("coverage", folder) as advance:
        found = measure_coverage(folder, items, split, workers, advance)
    _print_coverage(folder, found)
    for failure in found.failures[:_LISTED]:
        click.echo(printable(f"{failure.id}  {failure.reason}  {failure.detail}"))
    for identifier in found.foreign[:_LISTED]:
        click.echo(printable(f"{identifier}  is not in the manifest"))
    for what, listed, where in (
        ("failures", found.failures, failures or as_json or "--failures FILE.csv writes them"),
        ("foreign ids", found.foreign, as_json or "--json FILE writes them"),
    ):
        if len(listed) > _LISTED:
            click.echo(f"... the first {_LISTED} of {len(listed):,} {what}; all of them: {where}")
    if failures:
        _write_csv(failures, found.failures)
    _write_json(as_json, found.as_dict())
    sys.exit(0 if found.complete else 1)


@click.command()
@shards_argument
@click.argument("identifier", metavar="ID")
@click.option("--out", type=FILE, required=True, help="The PNG to write.")
@click.option("--frame", type=click.IntRange(1), default=1, show_default=True, help="Which of the sample's frames.")
@click.option("--manifest", type=FILE, help="With --root: draw over the frame itself, not over grey.")
@click.option("--root", type=FOLDER, help="The media root.")
def show(folder: Location, identifier: str, out: Path, frame: int, manifest: Path | None, root: Path | None) -> None:
    """Draw a frame with its regions, their labels and scores.

    \b
    python -m extract show shards/msrvtt video7 --out video7.png --manifest msrvtt.parquet --root /data/msrvtt

    Exit codes: 0 drawn; 1 a shard is broken; 2 no such id (why it failed is said), frame or file.
    """
    from data_specs import atomic
    from data_specs.shard_index import read_labels
    from extract.drawing import draw_regions, find_sample, frame_image

    if (manifest is None) != (root is None):
        raise InputError("--manifest and --root are given together or not at all")
    sample, made_with = find_sample(folder, identifier)
    if frame > len(sample.timestamps):
        raise InputError(f"--frame {frame}: sample {identifier!r} has {len(sample.timestamps)} frames")
    image = None
    if manifest is not None and root is not None:
        image = frame_image(manifest, root, sample, made_with, frame - 1)
    picture = draw_regions(sample, frame - 1, image, read_labels(folder))
    with atomic.replacing(out) as temporary:
        picture.save(temporary, "PNG")
    click.echo(str(out))


@click.command()
@manifest_option
@root_option
@click.option("--detector", default="shapes", show_default=True, help="A preset's name, or a .yaml file of your own.")
@split_option
@click.option("--frames", type=click.IntRange(1, 4096), default=8, show_default=True, help="Frames a clip.")
@click.option("--regions", type=click.IntRange(1, 1024), default=30, show_default=True, help="Regions a frame.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--sample", type=click.IntRange(1), default=20, show_default=True, help="Items that are measured.")
@click.option("--videos", type=click.IntRange(1), help="Items to scale to; default: those of the manifest.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Workers to scale to.")
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True, help="Cores a worker has for itself.")
@click.option("--price-per-hour", type=click.FloatRange(0), help="Of one worker, in any currency.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override, e.g. detector.batch=4.")
@json_option
def cost(manifest: Path, root: Path, detector: str, split: str | None, as_json: Path | None, **options: Any) -> None:
    """Hours and terabytes of an extraction, measured here on a sample that is spread over the manifest.

    \b
    python -m extract cost --manifest webvid.parquet --root /data/webvid --detector coco-r101-c4 --frames 8 \\
        --device cuda --videos 2500000 --workers 32 --price-per-hour 1.50

    The hours hold for workers like this machine, and for media that are read as fast. Nothing is written but --json.
    Exit codes: 0 measured; 1 some items of the sample gave no frames (listed, and left out); 2 wrong options or input.
    """
    from data_specs.manifest import read_manifest
    from extract.commands.costs import print_costs
    from extract.cost import spread_rows
    from extract.settings import make_settings

    chosen = {name: options[name] for name in ("frames", "regions", "device")}
    settings = make_settings(detector, options["assignments"], root=root, out=Path(), **chosen)
    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder; it is where the manifest's media paths start")
    items = read_manifest(manifest)
    rows = items.rows_of(split)
    scale = {name: options[name] for name in ("workers", "cores", "price_per_hour")}
    sample = items.take(spread_rows(rows, options["sample"]))
    tree, broken = print_costs(settings, sample, options["videos"] or len(rows), **scale)
    _write_json(as_json, tree)
    sys.exit(1 if broken else 0)


def printable(text: str) -> str:
    """A line for a terminal: ids and details come from files, and their control characters are shown, not obeyed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _print_coverage(folder: Location, found: Coverage) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "expected", "extracted", "failed", "not tried", "reasons", title=str(folder))
    for name, split in found.splits.items():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(split.reasons.items()))
        table.add_row(
            name, *(f"{n:,}" for n in (split.expected, split.extracted, split.failed, split.pending)), reasons
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _write_csv(path: Path, failures: tuple[Failure, ...]) -> None:
    from data_specs import atomic

    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "reason", "detail"))
        writer.writerows((failure.id, failure.reason.value, failure.detail) for failure in failures)


def _write_json(path: Path | None, tree: dict) -> None:
    from data_specs import atomic

    if path is not None:
        atomic.write_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
