"""Similarities and losses are float32 at least, whatever the encoders compute in: exponents of 20 s need the digits."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(vectors: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    return vectors if vectors.dtype in (torch.float32, torch.float64) else vectors.float()


def full_precision(vectors: Tensor) -> torch.autocast:
    """A context in which autocast does not narrow products of tensors on the device of ``vectors``."""
    return torch.autocast(vectors.device.type, enabled=False)
