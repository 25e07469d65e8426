"""Folders of shards made without media or detector, for tests of what looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_specs.failures import Failure, Reason
from data_specs.manifest import Item
from data_specs.regions import BOX_CONVENTION, Regions, boxes_from_corners
from data_specs.samples import Sample
from data_specs.shard_index import build_index
from data_specs.shards import CommitRecord, Provenance, records, write_shard
from extract.plan import ShardPlan

WIDTH, FRAMES, REGIONS = 8, 2, 3


def provenance(**changed: object) -> Provenance:
    told = {
        "dataset": "made",
        "manifest_sha256": "0" * 64,
        "detector": "made",
        "weights_sha256": "0" * 64,
        "detector_settings": {},
        "box_convention": BOX_CONVENTION,
        "sampling": "segment-middles",
        "frames": FRAMES,
        "regions": REGIONS,
        "feature_dim": WIDTH,
        "ffmpeg": "none",
    }
    return Provenance(**told | changed)


def sample(identifier: str, split: str = "train") -> Sample:
    """A whole sample; its values depend on its id alone."""
    rng = np.random.default_rng(list(identifier.encode()))
    shape = (FRAMES, REGIONS)
    corners = np.sort(rng.uniform(0, 100, (FRAMES * REGIONS, 2, 2)), axis=1).reshape(-1, 4)
    regions = Regions(
        features=rng.standard_normal((*shape, WIDTH)).astype(np.float16),
        boxes=boxes_from_corners(corners, (100, 100)).reshape(*shape, 7),
        scores=-np.sort(-rng.uniform(size=shape).astype(np.float32), axis=1),
        labels=rng.integers(0, 5, shape).astype(np.int32),
        count=np.full(FRAMES, REGIONS, np.int32),
    )
    return Sample(identifier, split, "video", ("a clip",), (), (0.5, 1.5), (100, 100), regions)


def shard(
    folder: Path, name: str, ids: Iterable[str], failed: Sequence[tuple[str, str]] = (), **changed: object
) -> CommitRecord:
    """One committed shard with samples of ``ids`` and failures ``(id, reason)``."""
    split = name.split("-")[0]
    results = [sample(identifier, split) for identifier in ids]
    failures = [Failure(id=identifier, reason=Reason(reason), detail="made") for identifier, reason in failed]
    items = tuple(Item(one.id, f"{one.id}.mp4", split) for one in (*results, *failures))
    return write_shard(folder, name, [*results, *failures], ShardPlan(name, items).hash, provenance(**changed))


def index(folder: Path) -> None:
    build_index(folder, records(folder))
