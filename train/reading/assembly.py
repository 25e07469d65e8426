"""A batch's tensors while they are filled.

Letters: B clips, F frames, R regions a frame, V feature width, K box width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from train.batch import RegionBatch
from train.reading.parts import Room
from train.reading.shared_rooms import RoomShape

_DTYPES = (torch.float16, torch.float32, torch.bool)


class Assembly:
    """Makes one batch after the other, each of new tensors, of up to B clips.

    ``pinned``: they lie in memory that CUDA copies from while it computes.
    """

    def __init__(self, shape: RoomShape, pinned: bool = False) -> None:
        self._shape, self._pinned = shape, pinned
        self._tensors: list[Tensor] = []
        self._filled = 0

    def begin(self, _slots: int = 0) -> Room:
        """A new batch: the room shows its tensors' memory to numpy."""
        sizes = (size for _, size in self._shape.arrays())
        self._tensors = [
            torch.empty(size, dtype=dtype, pin_memory=self._pinned) for size, dtype in zip(sizes, _DTYPES, strict=True)
        ]
        self._filled = 0
        return Room(*(tensor.numpy() for tensor in self._tensors))

    def add(self, clips: int, room: Room) -> None:
        """Copies the first so many rows of another room behind those that were added before."""
        for tensor, array in zip(self._tensors, (room.features_BFRV, room.boxes_BFRK, room.mask_BFR), strict=True):
            tensor.numpy()[self._filled : self._filled + clips] = array[:clips]
        self._filled += clips

    def rows(self, clips: int) -> RegionBatch:
        """The first so many clips."""
        return RegionBatch(*(tensor[:clips] for tensor in self._tensors))
