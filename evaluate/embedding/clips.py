"""Blocks of clips through a model: the columns of the table of videos.

Letters: B videos, F frames, R regions a frame, N = F*R, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs.samples import Sample
from evaluate.embedding.table_folder import Column
from evaluate.stored import StoredShards
from train.batch import RegionBatch, collate_regions, select_frames
from train.model import RegionTextModel
from train.stream import ahead


def clip_columns(width: int, frames: int, regions: int) -> dict[str, Column]:
    """Of a model whose joint width is ``width``; timestamps past a clip's frames are not numbers."""
    n = frames * regions
    return {
        "cls": Column(row=(width,)),
        "regions": Column(row=(n, width)),
        "mask": Column(torch.uint8, (n,)),
        "boxes": Column(row=(frames, regions, 4)),
        "labels": Column(torch.int32, (frames, regions)),
        "timestamps": Column(torch.float64, (frames,)),
        "frame_size": Column(torch.int32, (2,)),
    }


@torch.inference_mode()
def encode_clips(
    model: RegionTextModel, shards: StoredShards, blocks: Sequence[Sequence[str]], frames: int, regions: int
) -> Iterator[dict[str, Tensor]]:
    """The columns of some blocks of ids, one after the other; the next is read while one is computed.

    Raises:
        InputError: a shard breaks the contract.
    """
    for batch, looks in ahead(_read(shards, blocks, frames, regions, model.config.box_dim)):
        found = model.encode_video(batch.to(model.device))
        yield {
            "cls": found.cls_BE.float().cpu(),
            "regions": found.regions_BNE.float().cpu(),
            "mask": found.mask_BN.to(torch.uint8).cpu(),
            **looks,
        }


def _read(
    shards: StoredShards, blocks: Sequence[Sequence[str]], frames: int, regions: int, box_dim: int
) -> Iterator[tuple[RegionBatch, dict[str, Tensor]]]:
    for samples in shards.sample_blocks(blocks):
        batch = collate_regions([sample.regions for sample in samples], frames, regions, box_dim)
        columns = zip(*(_looks(sample, frames, regions) for sample in samples), strict=True)
        names = ("boxes", "labels", "timestamps", "frame_size")
        yield batch, {name: torch.from_numpy(np.stack(rows)) for name, rows in zip(names, columns, strict=True)}


def _looks(sample: Sample, frames: int, regions: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Where the regions that ``collate_regions`` takes are, padded as it pads."""
    chosen = select_frames(len(sample.timestamps), frames, None)
    f, r = len(chosen), min(regions, sample.regions.boxes.shape[1])
    boxes_FR4 = np.zeros((frames, regions, 4), np.float32)
    labels_FR = np.full((frames, regions), -1, np.int32)
    timestamps_F = np.full(frames, np.nan)
    boxes_FR4[:f, :r] = sample.regions.boxes[chosen, :r, :4]
    labels_FR[:f, :r] = sample.regions.labels[chosen, :r]
    timestamps_F[:f] = [sample.timestamps[i] for i in chosen]
    return boxes_FR4, labels_FR, timestamps_F, np.array(sample.frame_size, np.int32)
