"""Commands that make shards: ``run`` from media, ``retry`` of what failed, ``import-npz`` from others' features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from data_specs.location import Location
from extract.commands.options import (
    FILE,
    FOLDER,
    FolderOrUrl,
    manifest_option,
    processes_option,
    root_option,
    shards_argument,
)
from extract.sampling import RULES, SEGMENT_MIDDLES


@click.command()
@click.option("--manifest", type=FILE, required=True, help="What to extract: from `python -m data_specs build`.")
@click.option("--root", type=FOLDER, required=True, help="The media root that the manifest's paths start from.")
@click.option("--out", type=FolderOrUrl(), required=True, help="Folder or URL of the shards; committed ones are kept.")
@click.option("--detector", default="shapes", show_default=True, help="A preset's name, or a .yaml file of your own.")
@click.option("--split", help="Only this split (train, val, test); default: all.")
@click.option("--frames", type=click.IntRange(1, 4096), default=8, show_default=True, help="Frames a clip.")
@click.option("--sampling", type=click.Choice(RULES), default=SEGMENT_MIDDLES, show_default=True, help="Which frames.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of segment-random.")
@click.option("--regions", type=click.IntRange(1, 1024), default=30, show_default=True, help="Regions a frame.")
@click.option("--videos-per-shard", type=click.IntRange(1), default=256, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Ray workers; 0: no Ray.")
@click.option("--address", help="Address of a running Ray cluster; default: one of its own on this machine.")
@click.option("--gpus-per-worker", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override, e.g. detector.nms=0.3.")
def run(
    manifest: Path,
    root: Path,
    out: Location,
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

    Stop it at any time; the same command goes on. Exit codes: 0 all items gave a sample; 1 some did not (`coverage`
    lists them with the reason, `retry` tries some again); 2 wrong options or input.
    """
    from data_specs.manifest import read_manifest
    from data_specs.samples import SampleError
    from data_specs.shards import ShardError
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


@click.command()
@shards_argument
@manifest_option
@root_option
@click.option("--reasons", help="Such as timeout,killed_worker, or all; default: timeout, killed_worker, decode_error.")
@click.option("--videos-per-shard", type=click.IntRange(1), default=256, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Ray workers; 0: no Ray.")
@click.option("--address", help="Address of a running Ray cluster; default: one of its own on this machine.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="E.g. limits.wall_s=300.")
def retry(
    folder: Location,
    manifest: Path,
    root: Path,
    reasons: str | None,
    assignments: tuple[str, ...],
    videos_per_shard: int,
    workers: int,
    address: str | None,
) -> None:
    """Try again what failed, into additional shards; those that are there are not touched.

    \b
    python -m extract retry shards/msrvtt --manifest msrvtt.parquet --root /data/msrvtt \\
        --reasons timeout --set limits.wall_s=300

    By default those reasons are taken up that may go well on the same file another day. Where files were added or
    replaced since, name theirs: --reasons missing,truncated. A retry that was stopped goes on with the same command
    and is finished before another begins. Exit codes: 0 nothing is left to retry, or all went well; 1 some failed
    again (`coverage` lists them); 2 wrong options, or settings that would change the features.
    """
    from data_specs.shards import ShardError
    from extract.retry import retry_failures

    try:
        outcome = retry_failures(folder, manifest, root, reasons, assignments, videos_per_shard, workers, address)
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; committed shards stay in {folder}; the same command goes on") from None
    except (ShardError, OSError) as error:
        raise click.ClickException(f"{error}; committed shards stay in {folder}; the same command goes on") from None
    if outcome is None:
        click.echo(f"{folder}: nothing to retry")
        return
    planned, failed = outcome
    click.echo(f"{folder}: round {planned.round}: {len(planned.ids)} items tried again, {failed} failed again")
    if failed:
        click.echo(f"see: python -m extract coverage {folder} --manifest {manifest}", err=True)
        sys.exit(1)


@click.command("import-npz")
@click.argument("folder", type=FOLDER, metavar="FOLDER")
@manifest_option
@click.option("--out", type=FOLDER, required=True, help="Folder of the shards; committed ones in it are kept.")
@click.option("--split", help="Only this split (train, val, test); default: all.")
@click.option("--frames", type=click.IntRange(1, 4096), default=8, show_default=True, help="Frames a clip.")
@click.option("--regions", type=click.IntRange(1, 1024), default=30, show_default=True, help="Regions a frame.")
@click.option("--videos-per-shard", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--frames-from-name",
    "templates",
    multiple=True,
    metavar="TEMPLATE",
    help="Where an item's frames lie, e.g. {id}/{n}.npz with {n} the frame's number; default: as the release has them.",
)
@click.option("--detector", default="bottom-up-attention", show_default=True, help="A name for the provenance.")
@click.option("--background", type=int, default=-1, show_default=True, help="The class id of background; -1: none.")
@click.option("--no-attribute", type=int, default=-1, show_default=True, help="The attribute id of none; -1: none.")
@processes_option
def import_npz(
    folder: Path, manifest: Path, out: Path, split: str | None, videos_per_shard: int, workers: int, **options: Any
) -> None:
    """Make shards from npz files of bottom-up-attention.pytorch, as DemoVLP uses them.

    \b
    python -m extract import-npz region_features_all --manifest webvid.parquet --out shards/webvid

    One npz a frame: {split}/{path}/{n}.npz, {id}/{n}.npz, {name}_{n}.npz and the like. The most confident regions are
    kept. Nothing in the files can run. Older writers counted background and "none" among the ids: say 0 for both. The
    files don't say at which second a frame was taken: timestamps are the frames' numbers. Stop it at any time; the same
    command goes on. Exit codes: 0 all items gave a sample; 1 some did not (`coverage` lists them); 2 wrong options.
    """
    from extract.commands.importing import import_with_progress
    from extract.npz.importing import NpzImport
    from extract.npz.layout import RELEASE_TEMPLATES

    options["templates"] = options["templates"] or RELEASE_TEMPLATES
    chosen = NpzImport(folder=folder, out=out, **options)
    found = import_with_progress(chosen, manifest, split, videos_per_shard, workers)
    click.echo(
        f"{out}: {found.made} shards made, {found.skipped} were there; {found.index.num_samples} samples,"
        f" {found.index.num_regions} regions, {found.failures} items failed"
    )
    if found.failures:
        click.echo(f"see: python -m extract coverage {out} --manifest {manifest}", err=True)
        sys.exit(1)


@click.command()
@click.argument("folder", type=FOLDER, metavar="SHARDS")
@click.option("--out", type=FOLDER, required=True, help="Folder of the new shards; committed ones in it are kept.")
@click.option("--regions", type=click.IntRange(1), required=True, help="Of each frame; fewer than there are.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice.")
def thin(folder: Path, out: Path, regions: int, seed: int) -> None:
    """Make shards with fewer regions a frame, chosen at random, from shards that are there.

    \b
    python -m extract thin shards/msrvtt --out shards/msrvtt-random-5 --regions 5

    To compare with the most confident ones, for which no shards are needed: data.regions=5 of a run reads the first 5.
    Stop it at any time; the same command goes on. Exit codes: 0 done; 1 a shard is broken; 2 wrong options.
    """
    from extract.commands.reading import reading
    from extract.thinning import thin_shards

    with reading("thin", folder, f"what is done stays in {out}, and the same command goes on") as advance:
        index = thin_shards(folder, out, regions, seed, advance)
    click.echo(f"{out}: {index.num_samples} samples, {index.num_regions} regions")
