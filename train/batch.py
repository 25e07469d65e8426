"""Batches of videos and sentences as tensors.

Letters: B videos, C sentences, F frames, R regions a frame, V feature width, K box width, L word tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs.errors import InputError
from data_specs.regions import Regions
from train.reading.frames import select_frames


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """Regions of B videos.

    features_BFRV: float16 [B, F, R, V], as stored; the encoder widens it. boxes_BFRK: float32 [B, F, R, K], fractions
    of the frame, K = 7 or 6. mask_BFR: bool [B, F, R], true where a region exists.
    """

    features_BFRV: Tensor
    boxes_BFRK: Tensor
    mask_BFR: Tensor

    def __len__(self) -> int:
        return len(self.mask_BFR)

    def __getitem__(self, rows: slice) -> RegionBatch:
        """Some of the videos."""
        return RegionBatch(self.features_BFRV[rows], self.boxes_BFRK[rows], self.mask_BFR[rows])

    def to(self, device: torch.device | str) -> RegionBatch:
        """The batch on another device."""
        return RegionBatch(
            self.features_BFRV.to(device, non_blocking=True),
            self.boxes_BFRK.to(device, non_blocking=True),
            self.mask_BFR.to(device, non_blocking=True),
        )


@dataclass(frozen=True, eq=False)
class TextBatch:
    """C sentences, padded to the longest: [CLS] first, then word pieces and [SEP].

    input_ids_CL: int64 [C, 1+L]. attention_mask_CL: bool [C, 1+L], false where padded. lengths_C: tokens of each
    sentence up to its last real one, at least one; counted where they are not given, which waits for a GPU's mask, and
    kept by what is made of the batch, so that nobody waits for them again.
    """

    input_ids_CL: Tensor
    attention_mask_CL: Tensor
    lengths_C: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.lengths_C and len(self):
            object.__setattr__(self, "lengths_C", _lengths(self.attention_mask_CL))

    def __len__(self) -> int:
        return len(self.input_ids_CL)

    def __getitem__(self, rows: slice) -> TextBatch:
        """Some of the sentences, padded as before."""
        return TextBatch(self.input_ids_CL[rows], self.attention_mask_CL[rows], self.lengths_C[rows])

    def trimmed(self) -> TextBatch:
        """The sentences without the columns that are padding in all of them."""
        width = max(self.lengths_C)
        return TextBatch(self.input_ids_CL[:, :width], self.attention_mask_CL[:, :width], self.lengths_C)

    def to(self, device: torch.device | str) -> TextBatch:
        """The batch on another device."""
        return TextBatch(
            self.input_ids_CL.to(device, non_blocking=True),
            self.attention_mask_CL.to(device, non_blocking=True),
            self.lengths_C,
        )


def _lengths(attention_mask_CL: Tensor) -> list[int]:
    positions = torch.arange(1, attention_mask_CL.shape[1] + 1, device=attention_mask_CL.device)
    return (attention_mask_CL * positions).amax(1).clamp(min=1).tolist()


def collate_regions(
    clips: Sequence[Regions], frames: int, regions: int, box_dim: int, draws: NDArray[np.float64] | None = None
) -> RegionBatch:
    """Stacks clips into one batch of ``frames`` (F) frames and ``regions`` (R) regions a frame.

    Of a clip's stored frames ``select_frames`` chooses, by its row of ``draws`` [B, F] where given; of a frame's
    regions the first R, the most confident, stay. Frames and regions that a clip does not have are zero and masked.
    Boxes keep their first ``box_dim`` columns.

    Raises:
        InputError: no clip, or clips of different feature widths.
    """
    if not clips:
        raise InputError("a batch needs at least one clip")
    widths = {clip.features.shape[2] for clip in clips}
    if len(widths) > 1:
        raise InputError(f"clips of one batch have features of different widths: {sorted(widths)}")
    shape = (len(clips), frames, regions)
    features = np.zeros((*shape, widths.pop()), np.float16)
    boxes = np.zeros((*shape, box_dim), np.float32)
    mask = np.zeros(shape, np.bool_)
    for row, clip in enumerate(clips):
        chosen = select_frames(clip.features.shape[0], frames, None if draws is None else draws[row])
        f, r = len(chosen), min(regions, clip.features.shape[1])
        features[row, :f, :r] = clip.features[chosen, :r]
        boxes[row, :f, :r] = clip.boxes[chosen, :r, :box_dim]
        mask[row, :f, :r] = clip.mask[chosen, :r]
    return RegionBatch(torch.from_numpy(features), torch.from_numpy(boxes), torch.from_numpy(mask))
