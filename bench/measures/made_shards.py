"""Shards of made-up regions, of the sizes that real ones have, for benches that read and learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_specs.regions import BOX_CONVENTION, Regions
from data_specs.samples import Sample
from data_specs.shard_index import build_index
from data_specs.shards import Provenance, write_shard

REGIONS = 30
_WORDS = ("a", "person", "in", "the", "red", "coat", "walks", "past", "two", "dogs", "near", "this", "old", "bridge")


def make_sample(number: int, frames: int, width: int) -> Sample:
    """A clip of so many frames with 30 regions each, all that it has a function of its number."""
    rng = np.random.default_rng(number)
    corners = np.sort(rng.random((frames, REGIONS, 2, 2)), axis=2).reshape(frames, REGIONS, 4).astype(np.float32)
    size = corners[..., 2:] - corners[..., :2]
    return Sample(
        id=f"{number:08d}",
        split="train",
        media="video",
        captions=(" ".join(rng.choice(_WORDS, rng.integers(6, 16))),),
        questions=(),
        timestamps=tuple(float(second) for second in range(frames)),
        frame_size=(360, 640),
        regions=Regions(
            features=rng.standard_normal((frames, REGIONS, width), np.float32).astype(np.float16),
            boxes=np.concatenate([corners, size, size.prod(-1, keepdims=True)], -1),
            scores=-np.sort(-rng.random((frames, REGIONS), np.float32)),
            labels=rng.integers(0, 1600, (frames, REGIONS), np.int32),
            count=np.full(frames, REGIONS, np.int32),
        ),
    )


def write_shards(folder: Path, samples: Sequence[Sample], a_shard: int) -> Path:
    """Committed shards of ``a_shard`` samples each, and their index."""
    frames, regions, width = samples[0].regions.features.shape
    provenance = Provenance(
        dataset="made-up", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={},
        box_convention=BOX_CONVENTION, sampling="uniform", frames=frames, regions=regions, feature_dim=width,
        ffmpeg="none",
    )  # fmt: skip
    starts = range(0, len(samples), a_shard)
    parts = (samples[start : start + a_shard] for start in starts)
    records = [write_shard(folder, f"train-{n:05d}", part, "plan", provenance) for n, part in enumerate(parts)]
    build_index(folder, records)
    return folder
