"""Folders of others' region features (bottom-up-attention.pytorch, DemoVLP: one npz a frame) as region shards.

What such files don't say is not made up: the seconds at which frames were taken are unknown, so a timestamp is the
number in the file's name, and the provenance says so, as it says that the weights are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.failures import Failure, MediaError, Reason
from data_specs.manifest import Item, Manifest
from data_specs.regions import BOX_CONVENTION, BOX_DIM, Regions, boxes_from_corners
from data_specs.samples import Sample
from data_specs.shard_index import ShardIndex, build_index
from data_specs.shards import (
    CommitRecord,
    Provenance,
    file_sha256,
    iterate_records,
    write_shard,
)
from extract.npz.frame import NpzFrame, read_npz_frame
from extract.npz.layout import NpzLayout
from extract.plan import Plan, ShardPlan
from extract.processes import spread
from extract.safety.folder_lock import alone_in
from extract.sampling import IMPORTED
from extract.standing import standing_shards

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class NpzImport:
    """How features are imported.

    frames: at most so many a video, at the middles of equal runs of those that are there. regions: kept a frame.
    background: the class id that means background; ids above it move down by one, itself becomes -1.
    no_attribute: the same for attributes.
    """

    folder: Path
    out: Path
    templates: tuple[str, ...]
    detector: str
    frames: int
    regions: int
    background: int
    no_attribute: int


@dataclass(frozen=True)
class Imported:
    """index: of the folder. made, skipped: shards of this call and those that were there. failures: items without."""

    index: ShardIndex
    made: int
    skipped: int
    failures: int


def import_features(
    chosen: NpzImport,
    manifest: Manifest,
    manifest_path: Path,
    plan: Plan,
    workers: int,
    report: Callable[[CommitRecord], None],
) -> Imported:
    """Makes every shard of the plan that is not committed yet, then the index. report: called after each shard.

    Raises:
        InputError: no item has a file that can be read, or the output folder holds shards made differently.
        extract.processes.WorkerDiedError: a process was killed.
    """
    made_with = _provenance(chosen, manifest, manifest_path)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with alone_in(chosen.out):
        atomic.remove_leftovers(chosen.out)
        standing = standing_shards(chosen.out, plan, made_with)
        made, failures = 0, sum(standing.values())
        work = partial(import_shard, chosen=chosen, made_with=made_with)
        with closing(spread(work, plan.shards(set(plan.names) - standing.keys()), workers)) as results:
            for record in results:
                made += 1
                failures += len(record.failures)
                report(record)
        index = build_index(chosen.out, iterate_records(chosen.out))
    return Imported(index, made, len(standing), failures)


def import_shard(shard: ShardPlan, chosen: NpzImport, made_with: Provenance) -> CommitRecord:
    """Makes and commits one shard."""
    layout = NpzLayout(chosen.folder, chosen.templates)
    return write_shard(chosen.out, shard.name, _results(shard, layout, chosen, made_with), shard.hash, made_with)


def _results(
    shard: ShardPlan, layout: NpzLayout, chosen: NpzImport, made_with: Provenance
) -> Iterator[Sample | Failure]:
    for item in shard.items:
        try:
            yield import_item(item, layout, chosen, made_with.feature_dim)
        except MediaError as error:
            yield Failure(id=item.id, reason=error.reason, detail=error.detail)


def import_item(item: Item, layout: NpzLayout, chosen: NpzImport, width: int) -> Sample:
    """The sample of one item; ``width``: of its features.

    Raises:
        MediaError: with the reason the item gives none.
    """
    there = layout.frames(item)
    if not there:
        raise MediaError(Reason.MISSING, "no npz file by any of the templates")
    wanted = 1 if item.media == "image" else chosen.frames
    picked = [there[(2 * i + 1) * len(there) // (2 * wanted)] for i in range(wanted)]
    frames = {number: _read(path) for number, path in dict(picked).items()}
    size = next(iter(frames.values())).size
    if any(frame.size != size for frame in frames.values()):
        raise MediaError(Reason.DECODE_ERROR, "its frames are of different sizes")
    if other := {frame.features.shape[1] for frame in frames.values()} - {width}:
        raise MediaError(Reason.DECODE_ERROR, f"features are {other.pop()} wide, elsewhere {width}")
    attributes = all(frame.attributes is not None for frame in frames.values())
    packed = {number: _pack(frame, chosen, attributes) for number, frame in frames.items()}
    names = next(iter(packed.values()))
    regions = Regions(**{name: np.stack([packed[number][name] for number, _ in picked]) for name in names})
    if not regions.count.any():
        raise MediaError(Reason.NO_REGIONS, "no frame has a box")
    times = tuple(float(number) for number, _ in picked)
    return Sample(item.id, item.split, item.media, item.captions, item.questions, times, size, regions)


def _read(path: Path) -> NpzFrame:
    try:
        return read_npz_frame(path)
    except MediaError as error:
        raise MediaError(error.reason, f"{path.name}: {error.detail}") from None


def _pack(frame: NpzFrame, chosen: NpzImport, attributes: bool) -> dict[str, np.ndarray]:
    """The most confident regions of a frame in the arrays of the contract, without the axis of frames."""
    count = min(len(frame.features), chosen.regions)
    packed = {
        "features": np.zeros((chosen.regions, frame.features.shape[1]), np.float16),
        "boxes": np.zeros((chosen.regions, BOX_DIM), np.float32),
        "scores": np.zeros(chosen.regions, np.float32),
        "labels": np.full(chosen.regions, -1, np.int32),
        "count": np.int32(count),
    }
    packed["features"][:count] = frame.features[:count].clip(-_LARGEST, _LARGEST)
    packed["boxes"][:count] = boxes_from_corners(frame.corners[:count], frame.size)
    packed["scores"][:count] = frame.confidence[:count]
    packed["labels"][:count] = _without(frame.classes[:count], chosen.background)
    if attributes and frame.attributes is not None and frame.attribute_confidence is not None:
        packed["attribute_labels"] = np.full(chosen.regions, -1, np.int32)
        packed["attribute_scores"] = np.zeros(chosen.regions, np.float32)
        packed["attribute_labels"][:count] = _without(frame.attributes[:count], chosen.no_attribute)
        packed["attribute_scores"][:count] = frame.attribute_confidence[:count]
    return packed


def _without(ids: np.ndarray, nothing: int) -> np.ndarray:
    """Class ids as the contract counts them: -1 for ``nothing``, and those above it one lower."""
    if (ids < 0).any() or (ids > np.iinfo(np.int32).max).any():
        raise MediaError(Reason.DECODE_ERROR, "a class id is negative or too large")
    return np.where(ids == nothing, -1, ids - (ids > nothing if nothing >= 0 else 0))


def _provenance(chosen: NpzImport, manifest: Manifest, manifest_path: Path) -> Provenance:
    return Provenance(
        dataset=f"{manifest.info.dataset}/{manifest.info.protocol}".rstrip("/"),
        manifest_sha256=file_sha256(manifest_path),
        detector=f"imported:{chosen.detector}",
        weights_sha256="unknown",
        detector_settings={
            "templates": list(chosen.templates),
            "background": chosen.background,
            "no_attribute": chosen.no_attribute,
        },
        box_convention=BOX_CONVENTION,
        sampling=IMPORTED,
        frames=chosen.frames,
        regions=chosen.regions,
        feature_dim=_width(chosen, manifest),
        ffmpeg="none",
    )


def _width(chosen: NpzImport, manifest: Manifest) -> int:
    """The features' width, by the first file that can be read."""
    layout = NpzLayout(chosen.folder, chosen.templates)
    first: MediaError | None = None
    for item in manifest:
        for _, path in layout.frames(item)[:1]:
            try:
                return _read(path).features.shape[1]
            except MediaError as error:
                first = first or error
    seen = f"; the first error: {first}" if first else f"; looked for {', '.join(chosen.templates)}"
    raise InputError(f"{chosen.folder}: none of the manifest's {len(manifest)} items has an npz to read{seen}")
