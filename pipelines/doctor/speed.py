"""Hours: predicted from a few of the manifest's own videos, taken through the extraction here and now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import Item
from pipelines.doctor.annotations import Listed
from pipelines.doctor.case import Extraction
from pipelines.doctor.finding import Finding, failure, ok, warning

_TITLE = "hours"
_VIDEOS = 4
_ENOUGH_S = 15.0


@dataclass(frozen=True)
class Measured:
    """Seconds of decoding and of the detector for one item."""

    decoding_s: float
    detecting_s: float


def check_speed(extraction: Extraction, listed: Listed) -> Iterator[Finding]:
    """Decodes and detects on a few videos, spread over the manifest, and scales by items and workers.

    Raises:
        InputError: the detector cannot be built, ffmpeg is absent, or the manifest has no row of the split.
        ImportError: torch or detectron2 cannot be imported.
    """
    rows = listed.manifest.rows_of(extraction.split)
    spread = [rows[(2 * i + 1) * len(rows) // (2 * _VIDEOS)] for i in range(_VIDEOS)]
    items = listed.manifest.take(dict.fromkeys(spread))
    measured, broken = measure(extraction, items)
    for path, error in broken:
        yield failure(
            _TITLE,
            f"{path} gives no frames: {error}",
            "replace it; all of them: python -m data_specs check M.parquet --root DIR --probe",
        )
    if not measured:
        return
    each = Measured(*(sum(values) / len(measured) for values in zip(*map(_pair, measured), strict=True)))
    workers, cores = max(1, extraction.workers), os.cpu_count() or 1
    seconds = predict(each, len(rows), workers, cores, extraction.settings.device)
    found = (
        f"step {extraction.step!r}: about {duration(seconds)} for {len(rows):,} items on {workers} workers of this"
        f" machine; measured on {len(measured)}: {each.decoding_s:.2f} s decoding, {each.detecting_s:.2f} s detector"
    )
    if workers > cores:
        yield warning(_TITLE, f"{found}; {workers} workers share {cores} cores", f"--set workers={cores}")
    else:
        yield ok(_TITLE, found)


def measure(extraction: Extraction, items: list[Item]) -> tuple[list[Measured], list[tuple[str, MediaError]]]:
    """Times of the items, as a worker takes them, and those that gave no frames; stops when enough time is spent.

    The detector takes the first item twice: its first call is slow and not counted. For errors see ``check_speed``.
    """
    import torch

    from extract.detector import Detector
    from extract.frames import sample_frames

    settings = extraction.settings
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"not measured: there is no {settings.device}")
    torch.set_num_threads(settings.threads)
    detector = Detector(settings.detector, settings.device)
    measured: list[Measured] = []
    broken: list[tuple[str, MediaError]] = []
    began = time.perf_counter()
    for item in items:
        try:
            start = time.perf_counter()
            decoded = sample_frames(settings.root, item, settings.sampler, settings.limits.limits())
        except MediaError as error:
            broken.append((item.path, error))
            continue
        decoding_s = time.perf_counter() - start
        try:
            if not measured:
                detector.detect(decoded.images, settings.regions)
            start = time.perf_counter()
            detector.detect(decoded.images, settings.regions)
        except torch.OutOfMemoryError:
            raise InputError(
                f"{settings.frames} frames do not fit into the memory of {settings.device};"
                " fewer at a time: detector.batch, a key of the detector's YAML"
            ) from None
        measured.append(Measured(decoding_s, time.perf_counter() - start))
        if time.perf_counter() - began > _ENOUGH_S:
            break
    return measured, broken


def predict(each: Measured, items: int, workers: int, cores: int, device: str) -> float:
    """Seconds for all items: a worker decodes the next while it detects, and workers share the cores.

    On a CUDA device the detector takes none of the cores' time.
    """
    slower = max(each.decoding_s, each.detecting_s) / workers
    on_cores = each.decoding_s + (0.0 if device.startswith("cuda") else each.detecting_s)
    return items * max(slower, on_cores / cores)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def _pair(measured: Measured) -> tuple[float, float]:
    return measured.decoding_s, measured.detecting_s
