"""How many of a frame's things are among the regions that the proof's model reads: the most confident, or some of all.

A thing is covered by a region with an intersection over union of at least a half, and named by one that has its class,
too. (A detector says several classes of one place, so features may tell what a label does not.)

Letters: T things, R regions of a frame.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from bench.measures.finished_proof import finished_proof
from data_specs.regions import corners_from_boxes
from data_specs.shapes.generate import read_clips
from data_specs.shapes.render import render_frame
from evaluate.stored import read_stored
from pipelines.proof.experiments import SEEN
from pipelines.proof.scale import FULL

_COUNTS, _CLIPS, _IOU = (1, SEEN, 5, 10, 20, FULL.regions), 200, 0.5


def measure(rounds: int) -> dict[str, Any]:
    """In percent, in the frames of the first test clips: of so many regions the most confident, and at random, the mean
    of ``rounds`` draws."""
    at, _ = finished_proof("data", "shards")
    scenes = {clip.id: clip.scene for clip in read_clips(at.data)[0] if clip.scene.split == "test"}
    covered, named = [], []
    for sample in read_stored(at.shards()).samples(frozenset(list(scenes)[:_CLIPS])):
        regions = sample.regions
        for frame, time_s in enumerate(sample.timestamps):
            truth, count = render_frame(scenes[sample.id], time_s), int(regions.count[frame])
            corners = corners_from_boxes(regions.boxes[frame, :count], sample.frame_size)
            here_TR = box_iou(torch.from_numpy(truth.boxes), torch.from_numpy(corners)).numpy() >= _IOU
            covered.append(here_TR)
            named.append(here_TR & (truth.labels[:, None] == regions.labels[frame, :count]))
    found = {"covered": covered, "named": named}
    return {"clips": _CLIPS, "overlap": _IOU} | {
        str(count): {
            f"{what}_by_{how}": round(100 * value, 1)
            for what, frames in found.items()
            for how, value in (
                ("the_most_confident", mean(_share(here_TR[:, :count]) for here_TR in frames)),
                ("random", mean(_drawn(frames, count, seed) for seed in range(rounds))),
            )
        }
        for count in _COUNTS
    }


def _drawn(frames: list[NDArray[np.bool_]], count: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    return mean(_share(here_TR[:, rng.permutation(here_TR.shape[1])[:count]]) for here_TR in frames)


def _share(here_TR: NDArray[np.bool_]) -> float:
    """Of things that one of the regions has."""
    return float(here_TR.any(1).mean())
