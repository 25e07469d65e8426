"""The page that ``cost`` prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_specs.errors import InputError
from data_specs.manifest import Item
from extract.cost import Cost, Measured, duration, estimate, mean, measure
from extract.settings import ExtractionSettings


def print_costs(
    settings: ExtractionSettings,
    sample: Sequence[Item],
    items: int,
    workers: int,
    cores: int,
    price_per_hour: float | None,
) -> tuple[dict[str, Any], bool]:
    """Measures ``sample``, prints what ``items`` items will take, and gives it for JSON; and whether some are broken.

    Raises:
        InputError: none of the sample gave frames; for more see ``extract.cost.measure``.
        click.ClickException: it was stopped.
    """
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("measure", total=len(sample))
            measured, broken = measure(settings, sample, report=lambda: progress.advance(task))
    except KeyboardInterrupt:
        raise click.ClickException("stopped; nothing was written") from None
    for path, error in broken:
        click.echo(f"{path!r} gives no frames: {error}", err=True)
    if not measured:
        raise InputError(f"none of the {len(sample)} items of the sample gave frames; is --root right?")
    each = mean(measured)
    found = estimate(each, items, workers, cores, settings.device, price_per_hour, settings.decoders)
    _print(settings, each, len(measured), found, cores)
    tree = {
        "detector": settings.detector.name,
        "frames": settings.frames,
        "regions": settings.regions,
        "device": settings.device,
        "measured_items": len(measured),
        "broken": [{"path": path, "reason": error.reason.value, "detail": error.detail} for path, error in broken],
        "an_item": asdict(each),
        "cores_a_worker": cores,
        "cost": asdict(found),
    }
    return tree, bool(broken)


def _print(settings: ExtractionSettings, each: Measured, measured: int, found: Cost, cores: int) -> None:
    table = Table(
        title=f"{settings.detector.name}, {settings.frames} frames, {settings.regions} regions, {settings.device}"
    )
    table.add_column("")
    table.add_column("an item", justify="right")
    table.add_column(f"{found.items:,} items", justify="right")
    hours = found.items / 3600
    table.add_row("decoding, CPU time", f"{each.decoding_cpu_s:.3f} s", f"{each.decoding_cpu_s * hours:,.1f} hours")
    table.add_row("decoding, wall clock", f"{each.decoding_s:.3f} s", f"{each.decoding_s * hours:,.1f} hours")
    table.add_row("detector", f"{each.detecting_s:.3f} s", f"{each.detecting_s * hours:,.1f} hours")
    table.add_row("on disk", f"{each.bytes / 1e6:.3f} MB", f"{found.bytes / 1e12:.3f} TB")
    wall = duration(found.hours * 3600)
    table.add_row(f"{found.workers} workers of {cores} cores", "", wall)
    if found.price is not None:
        table.add_row("price", "", f"{found.price:,.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    click.echo(f"measured on {measured} items on this machine ({os.cpu_count()} cores)")
