"""The device and the number format that a run computes in."""

from __future__ import annotations

import torch

from data_specs.errors import InputError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` is this rank's CUDA device, else the CPU; ``cuda`` is this rank's.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(device.type)
    except RuntimeError:
        raise InputError(f"device: {name!r} is none; write auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        found = torch.cuda.device_count()
        if (device.index or 0) >= found:
            raise InputError(f"device: {name!r} is not on this machine, it has {found} CUDA devices")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where a CUDA device computes in it, fp16 on older ones, fp32 on a CPU.

    Raises:
        InputError: fp16 on a CPU, which computes in it a hundred times slower and overflows.
    """
    if name == "fp16" and device.type != "cuda":
        raise InputError("precision: fp16 is for GPUs; on a CPU choose fp32 or bf16")
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
