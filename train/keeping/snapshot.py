"""Copies of tensors in this machine's memory, whose buffers are used again and again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Snapshot:
    """Takes sets of named tensors as they are now. Memory is taken by the first; later ones write over it.

    On CUDA the copies go to pinned memory behind what the stream has to do already and before what comes next, so the
    caller may change the tensors at once; ``wait`` returns when they have arrived.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, dict[str, Tensor]] = {}
        self._arrived: torch.cuda.Event | None = None

    @torch.no_grad()
    def take(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies of ``tensors``; those of the last set of that name are gone. Read them after ``wait``."""
        old = self._buffers.get(name, {})
        new = {key: _fitting(old.get(key), tensor) for key, tensor in tensors.items()}
        self._buffers[name] = new
        for key, tensor in tensors.items():
            new[key].copy_(tensor, non_blocking=tensor.is_cuda)
        on_device = next((tensor for tensor in tensors.values() if tensor.is_cuda), None)
        if on_device is not None:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(on_device.device))
        return dict(new)

    def wait(self) -> None:
        """Until every copy has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()


def _fitting(buffer: Tensor | None, tensor: Tensor) -> Tensor:
    if buffer is not None and buffer.shape == tensor.shape and buffer.dtype == tensor.dtype:
        return buffer
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
