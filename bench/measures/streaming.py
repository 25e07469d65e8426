"""The stream against reading one npz file a video, as the authors' loader does, one process each.

1 frame of 8 stored, 30 regions of 2048, batches of 128. Every file is in the page cache, for both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.measures.made_shards import REGIONS, make_sample, write_shards
from data_specs.samples import METADATA_SUFFIX, Sample, decode_metadata, encode_sample
from train.config import DataConfig
from train.reading.loader import room_shape
from train.reading.parts import PartReader
from train.reading.plan import Consumer, Plan
from train.reading.shard_file import ShardFile
from train.reading.sources import open_sources
from train.stream import Batch, RegionStream, open_shards

SAMPLES, PER_SHARD, BATCH = 512, 128, 128
FRAMES, WIDTH = 8, 2048


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """Samples a second of each, medians over ``rounds`` by turns, and their ratios; bytes read a sample; what of the
    stream's time is spent on reading bytes alone, and on checking metadata.

    ``first_epoch`` compares the SHA-256 of every shard with its record, which later ones need not.
    """
    samples = [make_sample(number, FRAMES, WIDTH) for number in range(SAMPLES)]
    shards, files = write_shards(scratch / "shards", samples, PER_SHARD), _write_npz(scratch / "npz", samples)
    metadata = [data for name, data in encode_sample(samples[0]).items() if name.endswith(f".{METADATA_SUFFIX}")]
    del samples
    config = DataConfig(shards=(shards,), frames=1, regions=REGIONS, batch_size=BATCH)
    turns = [_turn(config, files, metadata[0]) for _ in range(rounds + 1)][1:]  # the first fills the page cache
    median = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    stored, read = _bytes_a_sample(config), files[0].stat().st_size
    return {
        "samples": SAMPLES,
        **{f"{name}_samples_per_s": round(SAMPLES / median[name]) for name in ("npz", "first_epoch", "later_epoch")},
        "first_epoch_over_npz": round(statistics.median(turn["npz"] / turn["first_epoch"] for turn in turns), 2),
        "later_epoch_over_npz": round(statistics.median(turn["npz"] / turn["later_epoch"] for turn in turns), 2),
        "npz_bytes_a_sample": read,
        "stream_bytes_a_sample": stored,
        "npz_bytes_over_stream": round(read / stored, 2),
        "bytes_alone_share": round(median["bytes_alone"] / median["later_epoch"], 3),
        "metadata_share": round(median["metadata"] / median["later_epoch"], 3),
    }


def _turn(config: DataConfig, files: list[Path], metadata: bytes) -> dict[str, float]:
    """Seconds that each takes for all samples."""
    stream = RegionStream(config, 7)
    return {
        "npz": _timed(lambda: _drain(_read_npz(files))),
        "first_epoch": _timed(lambda: _drain(stream.epoch(0))),
        "later_epoch": _timed(lambda: _drain(stream.epoch(1))),
        "bytes_alone": _timed(lambda: _bytes_alone(config)),
        "metadata": _timed(lambda: [decode_metadata("00000000", metadata) for _ in range(SAMPLES)]),
    }


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _drain(batches: Iterator[Batch | tuple[Tensor, ...]]) -> None:
    for _ in batches:
        pass


def _read_npz(files: list[Path]) -> Iterator[tuple[Tensor, ...]]:
    """Batches in random order, a random frame of each file."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(files))
    for first in range(0, len(files), BATCH):
        rows = []
        for number in order[first : first + BATCH]:
            with np.load(files[number]) as stored:
                frame = rng.integers(FRAMES)
                rows.append((torch.from_numpy(stored["features"][frame]), torch.from_numpy(stored["boxes"][frame])))
        yield tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _bytes_alone(config: DataConfig) -> None:
    """The metadata's bytes and one frame's features of each sample, and nothing done with them."""
    out = np.empty((REGIONS, WIDTH), np.float16)
    for shard in open_shards(config)[1]:
        file = ShardFile(shard, verify=False)
        for place in range(shard.samples):
            _, regions, _ = file.members(place)
            regions.read(0, 16 << 10)
            regions.read_into(regions.size - out.nbytes, out)
        file.close()


def _bytes_a_sample(config: DataConfig) -> int:
    """What the stream asks of the tars for a sample."""
    plan = Plan(config, 7, open_sources(config))
    reader, room = PartReader(plan, Consumer()), room_shape(plan, Consumer()).room()
    read = sum(len(part) for part in reader.parts(0, 0, lambda _: room))
    return reader.bytes_read // read


def _write_npz(folder: Path, samples: list[Sample]) -> list[Path]:
    folder.mkdir()
    for sample in samples:
        arrays = sample.regions.arrays()
        np.savez(folder / f"{sample.id}.npz", features=arrays["features"].astype(np.float32), boxes=arrays["boxes"])
    return sorted(folder.glob("*.npz"))
