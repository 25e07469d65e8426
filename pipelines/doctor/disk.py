"""Disk: how many bytes the steps will write, and how many are free where they write them."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_specs.errors import InputError
from data_specs.manifest import Item
from data_specs.regions import BOX_DIM, Regions
from data_specs.samples import Sample
from data_specs.shards import ShardError, records
from extract.cost import stored_bytes
from extract.settings import ExtractionSettings
from pipelines.doctor.annotations import Listed
from pipelines.doctor.case import Extraction, Training
from pipelines.doctor.finding import Finding, failure, ok, warning
from pipelines.doctor.outputs import standing
from pipelines.doctor.weights import read_text_config

_TITLE = "disk"
_FULL_ABOVE = 0.9
_SAMPLED = 64
_JOURNAL_BYTES = 1500  # a step: its line of metrics.jsonl and its TensorBoard events


@dataclass(frozen=True)
class Need:
    """Bytes that will be written into a folder, and what they are."""

    folder: Path
    what: str
    bytes: int


def check_disk(needs: list[Need]) -> Iterator[Finding]:
    """Needed and free bytes of each file system that is written to."""
    systems: defaultdict[int, list[Need]] = defaultdict(list)
    for need in needs:
        systems[standing(need.folder).stat().st_dev].append(need)
    for written in systems.values():
        folder = written[0].folder
        free, needed = shutil.disk_usage(standing(folder)).free, sum(need.bytes for need in written)
        parts = ", ".join(f"{need.what} {size(need.bytes)}" for need in written)
        found = f"{folder}: {size(needed)} needed ({parts}), {size(free)} free"
        if needed > free:
            yield failure(_TITLE, found, f"free {size(needed - free)} there, or write elsewhere: --set out=FOLDER")
        elif needed > _FULL_ABOVE * free:
            yield warning(_TITLE, f"{found}: nearly all of it", "free more there, or --set out=FOLDER")
        else:
            yield ok(_TITLE, found)


def manifest_need(listed: Listed) -> Need:
    """What a manifest takes."""
    return Need(listed.place.parent, "manifest", listed.file.stat().st_size)


def extraction_need(extraction: Extraction, listed: Listed, fresh: bool) -> Need:
    """What the shards that are still to be made will take, were every item to give a sample.

    Raises:
        InputError: the manifest has no row of the split.
    """
    rows = listed.manifest.rows_of(extraction.split)
    some = listed.manifest.take(rows[:: max(1, len(rows) // _SAMPLED)])
    each = sum(sample_bytes(extraction.settings, item) for item in some) / max(1, len(some))
    done = 0 if fresh else _committed_bytes(extraction.settings.out)
    return Need(extraction.settings.out, f"shards of {len(rows):,} items", max(0, round(each * len(rows)) - done))


def sample_bytes(settings: ExtractionSettings, item: Item) -> int:
    """Bytes that the item's sample takes in a tar, headers included; its regions take the same whatever they are."""
    frames = 1 if item.media == "image" else settings.frames
    shape = (frames, settings.regions)
    empty = Regions(
        features=np.zeros((*shape, settings.detector.feature_dim), np.float16),
        boxes=np.zeros((*shape, BOX_DIM), np.float32),
        scores=np.zeros(shape, np.float32),
        labels=np.full(shape, -1, np.int32),
        count=np.zeros(frames, np.int32),
    )
    times = tuple(index + 0.123456 for index in range(frames))
    sample = Sample(item.id, item.split, item.media, item.captions, item.questions, times, (1080, 1920), empty)
    return stored_bytes(sample)


def training_need(training: Training, steps: int) -> Need:
    """What checkpoints (one more than are kept, while it is written), models and journal will take.

    Raises:
        InputError: the text encoder is not there or broken, so that its size is not known.
        ImportError: torch or transformers cannot be imported.
    """
    from train.forecast.counts import checkpoint_bytes, checkpoints_at_once

    config = training.config
    every, learning = count_parameters(training)
    checkpoint = checkpoint_bytes(every, learning, config.optimiser.ema_decay is not None)
    many = checkpoints_at_once(config, steps)
    models = 4 * every * (2 if config.validation is not None else 1)
    written = many * checkpoint + models + steps * _JOURNAL_BYTES
    return Need(training.config.out, f"{many} checkpoints, model and journal", written)


def count_parameters(training: Training) -> tuple[int, int]:
    """Parameters of the model, and how many of them learn; made without taking memory for them. Raises as above."""
    config = training.config.model
    described = read_text_config(config.text_encoder)
    import torch
    from transformers import AutoModel

    from train.networks.text_encoder import TextEncoder
    from train.networks.video_encoder import VideoEncoder

    with torch.device("meta"):
        video = VideoEncoder(config)
        text = TextEncoder(AutoModel.from_config(described), config.joint_dim)
    if training.config.optimiser.freeze_text:
        text.freeze()
    parameters = [*video.parameters(), *text.parameters()]
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _committed_bytes(folder: Path) -> int:
    try:
        return sum(record.bytes for record in records(folder))
    except (InputError, ShardError):
        return 0
