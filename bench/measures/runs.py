"""Extractions that benches time: the ten videos of the fixture under as many ids as are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from data_specs.build import build_manifest
from data_specs.manifest import Item, ManifestInfo, read_manifest, write_manifest
from data_specs.shards import Provenance
from extract.plan import Plan
from extract.settings import ExtractionSettings, make_settings, provenance

CHECKOUT = Path(__file__).parents[2]
VIDEOS = CHECKOUT / "tests/fixtures/msrvtt10"


def make_manifest(scratch: Path, videos: int) -> Path:
    """A manifest of so many rows, each one of the ten videos."""
    ten, path = scratch / "ten.parquet", scratch / f"{videos}.parquet"
    if not ten.exists():
        build_manifest("msrvtt", VIDEOS, ten)
    items = list(read_manifest(ten))

    def rows() -> Iterator[Item]:
        turn = 0
        while True:
            yield from (replace(item, id=f"{item.id} {turn}", split="train") for item in items)
            turn += 1

    write_manifest(path, islice(rows(), videos), ManifestInfo("bench"))
    return path


def prepare(manifest: Path, out: Path, frames: int, per_shard: int) -> tuple[ExtractionSettings, Plan, Provenance]:
    """What ``extract.driver.run_extraction`` wants, with the embedded detector on one thread."""
    items = read_manifest(manifest)
    settings = make_settings("shapes", (), root=VIDEOS, out=out, frames=frames, threads=1)
    return settings, Plan(items, None, per_shard), provenance(settings, items, manifest)
