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

from data_specs.regions import BOX_CONVENTION, Regions
from data_specs.samples import METADATA_SUFFIX, Sample, decode_metadata, encode_sample
from data_specs.shard_index import build_index
from data_specs.shards import Provenance, write_shard
from train.config import DataConfig
from train.reading.shard_file import ShardFile
from train.stream import Batch, RegionStream, open_shards

SAMPLES, PER_SHARD, BATCH = 512, 128, 128
FRAMES, REGIONS, WIDTH = 8, 30, 2048


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """Samples a second of each, medians over ``rounds`` by turns, and their ratios; bytes read a sample; what of the
    stream's time is spent on reading bytes alone, and on checking metadata.

    ``first_epoch`` compares the SHA-256 of every shard with its record, which later ones need not.
    """
    samples = [_sample(number) for number in range(SAMPLES)]
    shards, files = _write_shards(scratch / "shards", samples), _write_npz(scratch / "npz", samples)
    del samples
    config = DataConfig(shards=(shards,), frames=1, regions=REGIONS, batch_size=BATCH)
    found: dict[str, list[float]] = {"npz": [], "first_epoch": [], "later_epoch": [], "bytes_alone": [], "metadata": []}
    for turn in range(rounds + 1):
        stream = RegionStream(config, 7)
        times = {
            "npz": _timed(lambda: _drain(_read_npz(files))),
            "first_epoch": _timed(lambda: _drain(stream.epoch(0))),
            "later_epoch": _timed(lambda: _drain(stream.epoch(1))),
            "bytes_alone": _timed(lambda: _bytes_alone(config)),
            "metadata": _timed(lambda texts=_metadata(config): [decode_metadata("", text) for text in texts]),
        }
        for name, taken in times.items() if turn else ():  # the first turn fills the page cache
            found[name].append(taken)
    median = {name: statistics.median(taken) for name, taken in found.items()}
    stored, read = _bytes_a_sample(config), files[0].stat().st_size
    return {
        "samples": SAMPLES,
        "npz_samples_per_s": round(SAMPLES / median["npz"]),
        "first_epoch_samples_per_s": round(SAMPLES / median["first_epoch"]),
        "later_epoch_samples_per_s": round(SAMPLES / median["later_epoch"]),
        "first_epoch_over_npz": _ratio(found["npz"], found["first_epoch"]),
        "later_epoch_over_npz": _ratio(found["npz"], found["later_epoch"]),
        "npz_bytes_a_sample": read,
        "stream_bytes_a_sample": stored,
        "npz_bytes_over_stream": round(read / stored, 2),
        "bytes_alone_share": round(median["bytes_alone"] / median["later_epoch"], 3),
        "metadata_share": round(median["metadata"] / median["later_epoch"], 3),
    }


def _ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the turns' ratios."""
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 2)


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
    for _, shard in enumerate(open_shards(config)[1]):
        file = ShardFile(shard, verify=False)
        for place in range(shard.samples):
            _, regions, _ = file.members(place)
            regions.read(0, 16 << 10)
            regions.read_into(regions.size - out.nbytes, out)
        file.close()


def _metadata(config: DataConfig) -> list[bytes]:
    sample = encode_sample(_sample(0))
    return [data for name, data in sample.items() if name.endswith(f".{METADATA_SUFFIX}")] * SAMPLES


def _bytes_a_sample(config: DataConfig) -> int:
    """What the stream asks of the tars for a sample, by counting."""
    from train.reading import shard_access

    counted: list[int] = []
    plain = shard_access.ShardFile.close

    def counting(file: ShardFile) -> None:
        counted.append(file.bytes_read)
        plain(file)

    shard_access.ShardFile.close = counting
    try:
        _drain(RegionStream(config, 7).epoch(0))
    finally:
        shard_access.ShardFile.close = plain
    return sum(counted) // SAMPLES


def _sample(number: int) -> Sample:
    rng = np.random.default_rng(number)
    corners = np.sort(rng.random((FRAMES, REGIONS, 2, 2)), axis=2).reshape(FRAMES, REGIONS, 4).astype(np.float32)
    size = corners[..., 2:] - corners[..., :2]
    return Sample(
        id=f"{number:08d}",
        split="train",
        media="video",
        captions=("a caption of a dozen words as web videos have them, more or less so",),
        questions=(),
        timestamps=tuple(float(t) for t in range(FRAMES)),
        frame_size=(360, 640),
        regions=Regions(
            features=rng.standard_normal((FRAMES, REGIONS, WIDTH), np.float32).astype(np.float16),
            boxes=np.concatenate([corners, size, size.prod(-1, keepdims=True)], -1),
            scores=-np.sort(-rng.random((FRAMES, REGIONS), np.float32)),
            labels=rng.integers(0, 1600, (FRAMES, REGIONS), np.int32),
            count=np.full(FRAMES, REGIONS, np.int32),
        ),
    )


def _write_shards(folder: Path, samples: list[Sample]) -> Path:
    provenance = Provenance(
        dataset="bench", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={},
        box_convention=BOX_CONVENTION, sampling="uniform", frames=FRAMES, regions=REGIONS, feature_dim=WIDTH,
        ffmpeg="none",
    )  # fmt: skip
    starts = range(0, len(samples), PER_SHARD)
    parts = (samples[start : start + PER_SHARD] for start in starts)
    records = [write_shard(folder, f"train-{n:05d}", part, "plan", provenance) for n, part in enumerate(parts)]
    build_index(folder, records)
    return folder


def _write_npz(folder: Path, samples: list[Sample]) -> list[Path]:
    folder.mkdir()
    for sample in samples:
        arrays = sample.regions.arrays()
        np.savez(folder / f"{sample.id}.npz", features=arrays["features"].astype(np.float32), boxes=arrays["boxes"])
    return sorted(folder.glob("*.npz"))
