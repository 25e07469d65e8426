"""Rooms that two processes see: memory without a name, so that nothing is left behind and no mount's size limits it."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from train.reading.parts import Room

_ALIGNMENT = 64


@dataclass(frozen=True)
class RoomShape:
    """Sizes of a room; the letters are those of ``train.reading.parts``."""

    clips: int
    frames: int
    regions: int
    feature_dim: int
    box_dim: int

    def arrays(self) -> tuple[tuple[np.dtype, tuple[int, ...]], ...]:
        """Type and shape of each of a room's fields, in their order."""
        frame = (self.clips, self.frames, self.regions)
        return (
            (np.dtype(np.float16), (*frame, self.feature_dim)),
            (np.dtype(np.float32), (*frame, self.box_dim)),
            (np.dtype(np.bool_), frame),
        )

    def room(self) -> Room:
        """A room of this process alone."""
        return Room(*(np.empty(shape, dtype) for dtype, shape in self.arrays()))


class SharedRooms:
    """``count`` rooms in one piece of memory, which goes along when this is given to a new process."""

    def __init__(self, shape: RoomShape, count: int) -> None:
        self._shape, self._count = shape, count
        self._descriptor = os.memfd_create("regionvlp rooms")
        os.truncate(self._descriptor, self._room_bytes * count)
        self._map()

    def __getitem__(self, number: int) -> Room:
        return self._rooms[number]

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> tuple[RoomShape, int, Any]:
        return self._shape, self._count, DupFd(self._descriptor)

    def __setstate__(self, state: tuple[RoomShape, int, Any]) -> None:
        self._shape, self._count, descriptor = state
        self._descriptor = descriptor.detach()
        self._map()

    def close_descriptor(self) -> None:
        """The memory stays as long as a process has it mapped."""
        os.close(self._descriptor)

    @property
    def _room_bytes(self) -> int:
        return max(1, sum(_padded(dtype, shape) for dtype, shape in self._shape.arrays()))

    def _map(self) -> None:
        memory = mmap.mmap(self._descriptor, self._room_bytes * self._count)
        self._rooms: list[Room] = []
        for number in range(self._count):
            at, arrays = number * self._room_bytes, []
            for dtype, shape in self._shape.arrays():
                arrays.append(np.ndarray(shape, dtype, memory, at))
                at += _padded(dtype, shape)
            self._rooms.append(Room(*arrays))


def _padded(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    size = int(np.prod(shape)) * dtype.itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT
