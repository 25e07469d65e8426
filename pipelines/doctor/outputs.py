"""The folders that the steps write into: whether they may, and whether what stands there lets them go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from data_specs.errors import InputError
from data_specs.shards import ShardError, committed, provenance_difference, records
from extract.plan import Plan
from extract.settings import provenance
from pipelines.doctor.annotations import Listed
from pipelines.doctor.case import Case, Extraction, Training
from pipelines.doctor.finding import Finding, failure, ok
from pipelines.runner import refuse_foreign

_TITLE = "output"


def folders(case: Case) -> list[Path]:
    """Every folder that the pipeline writes into."""
    found = [case.out]
    found += [building.out.parent for building in case.buildings]
    found += [extraction.settings.out for extraction in case.extractions]
    found += [training.config.out for training in case.trainings]
    return list(dict.fromkeys(found))


def check_writable(case: Case) -> Iterator[Finding]:
    """Every folder can be made and written, and a fresh pipeline may remove what stands in its own.

    Raises:
        InputError: it may not: no pipeline of this name made it.
    """
    refused = False
    for folder in folders(case):
        above = standing(folder)
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            refused = True
            yield failure(_TITLE, f"{folder}: {above} is no folder that may be written to", "--set out=FOLDER")
    if case.pipeline.fresh:
        refuse_foreign(case.out, case.pipeline)
    if not refused:
        yield ok(_TITLE, f"may be written: {', '.join(map(str, folders(case)))}")


def check_resumed_extraction(extraction: Extraction, listed: Listed) -> Iterator[Finding]:
    """Shards that are committed already are of this plan and were made in the same way.

    Raises:
        InputError: the detector's weights or ffmpeg are absent, or the manifest has no row of the split.
    """
    folder = extraction.settings.out
    if not any(folder.glob("*.json")):
        return
    try:
        standing_records = records(folder)
    except (InputError, ShardError) as error:
        yield failure(_TITLE, str(error), f"look with: python -m extract verify {folder}")
        return
    now = provenance(extraction.settings, listed.manifest, listed.file)
    other = next((record for record in standing_records if record.provenance != now), None)
    if other is not None:
        difference = provenance_difference(other.provenance, now)
        yield failure(_TITLE, f"{folder}/{other.shard} was made differently ({difference})", "--set out=FOLDER")
        return
    for shard in Plan(listed.manifest, extraction.split, extraction.videos_per_shard):
        record = committed(folder, shard.name)
        if record is not None and record.plan_hash != shard.hash:
            yield failure(_TITLE, f"{folder}/{record.shard} was made from another plan", "--set out=FOLDER")
            return
        if record is not None:
            break  # one of them tells: all were planned from the same manifest
    yield ok(_TITLE, f"{folder}: {len(standing_records):,} shards are committed already and will be kept")


def check_run_folder(training: Training) -> Iterator[Finding]:
    """A run that stands in the run folder is the one to go on with; the trainer itself is asked.

    Raises:
        ImportError: torch or transformers cannot be imported.
    """
    from train.resolution import resolved
    from train.run.run_folder import check_run

    folder = training.config.out
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        check_run(resolved(training.config), training.resume)
    except InputError as error:
        yield failure(_TITLE, error.message, f"--set {training.step}.out=FOLDER")
        return
    yield ok(_TITLE, f"{folder}: a run of these settings stands there; it will be gone on with")


def standing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
