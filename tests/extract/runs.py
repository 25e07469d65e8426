"""Extractions as the command line does them, for tests."""

from __future__ import annotations

from pathlib import Path

from data_specs.manifest import read_manifest
from extract.driver import Outcome, run_extraction
from extract.plan import Plan
from extract.settings import ExtractionSettings, make_settings, provenance

HOSTILE = {
    "empty": ("bad/empty.mp4", "empty"),
    "text": ("bad/text.mp4", "not_media"),
    "cut": ("bad/cut.mp4", "truncated"),
    "audio": ("bad/audio.mp4", "no_video_stream"),
    "absent": ("bad/absent.mp4", "missing"),
}


def settings_for(root: Path, out: Path, **options: object) -> ExtractionSettings:
    chosen = {"frames": 2, "regions": 30, **options}
    return make_settings("shapes", (), root=root, out=out, **chosen)


def extract(manifest: Path, settings: ExtractionSettings, *, per_shard: int = 4, workers: int = 0) -> Outcome:
    """One extraction as the command line does it."""
    items = read_manifest(manifest)
    plan = Plan(items, None, per_shard)
    return run_extraction(settings, plan, provenance(settings, items, manifest), workers, None)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
