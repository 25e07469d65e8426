"""Hours: predicted from a few of the manifest's own videos, taken through the extraction here and now."""

from __future__ import annotations

import os
from collections.abc import Iterator

from extract.cost import duration, mean, measure, predict, spread_rows
from pipelines.doctor.annotations import Listed
from pipelines.doctor.case import Extraction
from pipelines.doctor.finding import Finding, failure, ok, warning

_TITLE = "hours"
_VIDEOS = 4
_ENOUGH_S = 15.0


def check_speed(extraction: Extraction, listed: Listed) -> Iterator[Finding]:
    """Decodes and detects on a few videos, spread over the manifest, and scales by items and workers.

    Raises:
        InputError: the detector cannot be built, ffmpeg is absent, or the manifest has no row of the split.
        ImportError: torch or detectron2 cannot be imported.
    """
    rows = listed.manifest.rows_of(extraction.split)
    items = listed.manifest.take(spread_rows(rows, _VIDEOS))
    measured, broken = measure(extraction.settings, items, _ENOUGH_S)
    for path, error in broken:
        yield failure(
            _TITLE,
            f"{path} gives no frames: {error}",
            "replace it; all of them: python -m data_specs check M.parquet --root DIR --probe",
        )
    if not measured:
        return
    each = mean(measured)
    workers, cores = max(1, extraction.workers), os.cpu_count() or 1
    seconds = predict(each, len(rows), workers, cores, extraction.settings.device, extraction.settings.decoders)
    found = (
        f"step {extraction.step!r}: about {duration(seconds)} for {len(rows):,} items on {workers} workers of this"
        f" machine; measured on {len(measured)}: {each.decoding_s:.2f} s decoding, {each.detecting_s:.2f} s detector"
    )
    if workers > cores:
        yield warning(
            _TITLE, f"{found}; {workers} workers share {cores} cores", f"--set {extraction.prefix}workers={cores}"
        )
    else:
        yield ok(_TITLE, found)
