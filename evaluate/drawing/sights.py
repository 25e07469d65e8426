"""Frames with the detector's most confident regions, where no sentence says which of them answer.

Letters: K boxes shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_specs.manifest import Item
from data_specs.samples import Sample
from evaluate.drawing.boxes import SAME_OBJECT_IOU, Box, iou
from evaluate.drawing.pictures import FrameAt
from evaluate.drawing.views import View
from evaluate.stored import StoredShards


def sights(
    stored: StoredShards, items: Sequence[Item], frame_at: FrameAt, labels: Sequence[str], most: int
) -> Mapping[str, View]:
    """The middle frame of each video by its id, with at most so many boxes, the most confident first.

    Raises:
        InputError: a shard is broken.
    """
    item_of = {item.id: item for item in items}
    return {s.id: _sight(s, item_of[s.id], frame_at, labels, most) for s in stored.samples(frozenset(item_of))}


def _sight(sample: Sample, item: Item, frame_at: FrameAt, labels: Sequence[str], most: int) -> View:
    frame = len(sample.timestamps) // 2
    height, width = sample.frame_size
    regions = sample.regions
    corners_R4 = regions.boxes[frame, : int(regions.count[frame]), :4].astype(np.float64)
    chosen: list[int] = []
    for r, corners in enumerate(corners_R4):
        if len(chosen) < most and all(iou(corners, corners_R4[other]) <= SAME_OBJECT_IOU for other in chosen):
            chosen.append(r)
    boxes = []
    for number, r in enumerate(chosen, start=1):
        x1, y1, x2, y2 = (corners_R4[r] * (width, height, width, height)).tolist()
        label, confidence = int(regions.labels[frame, r]), float(regions.scores[frame, r])
        name = labels[label] if 0 <= label < len(labels) else f"class {label}" if label >= 0 else "region"
        boxes.append(Box(number, x1, y1, x2 - x1, y2 - y1, name, confidence, confidence))
    timestamp = sample.timestamps[frame]
    return View(sample.id, frame_at(item, timestamp), timestamp, sample.frame_size, tuple(boxes), ())
