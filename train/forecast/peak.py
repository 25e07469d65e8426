"""The most that a device computes: from its data sheet, else measured."""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_TERA = 1e12
_MEASURED_FOR_S = 0.3
_SMALLEST, _LARGEST = 256, {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True)
class Peak:
    """FLOP/s of matrix products on one device, and whether they are a ``sheet``'s or were ``measured`` here."""

    flops: float
    source: str


@dataclass(frozen=True)
class _Sheet:
    """Dense TFLOP/s: tensor cores in half precision (fp16; bf16 too where there is one), and plain fp32."""

    pattern: str
    half: float
    fp32: float
    is_ampere: bool = True  # or newer: has bf16, and TF32 at half of that

    def flops(self, precision: str, tf32: bool) -> float | None:
        """In FLOP/s; None where the device does not compute in that precision."""
        if precision == "fp32":
            return _TERA * (self.half / 2 if tf32 and self.is_ampere else self.fp32)
        if precision == "bf16" and not self.is_ampere:
            return None
        return _TERA * self.half


# From NVIDIA's data sheets, without sparsity. The first that the name fits is taken.
_SHEETS = (
    _Sheet(r"V100.*PCIE", 112, 14.0, is_ampere=False),
    _Sheet(r"V100", 125, 15.7, is_ampere=False),
    _Sheet(r"\bT4\b", 65, 8.1, is_ampere=False),
    _Sheet(r"\bA10G\b", 70, 31.2),
    _Sheet(r"\bA10\b", 125, 31.2),
    _Sheet(r"\bA30\b", 165, 10.3),
    _Sheet(r"\bA40\b", 149.7, 37.4),
    _Sheet(r"\bA100\b", 312, 19.5),
    _Sheet(r"\bL4\b", 121, 30.3),
    _Sheet(r"\bL40S\b", 362, 91.6),
    _Sheet(r"\bH100 PCIe", 756, 51.2),
    _Sheet(r"\bH100 NVL", 835, 60.0),
    _Sheet(r"\bG?H[12]00\b", 989, 66.9),
    _Sheet(r"\bG?B200\b", 2250, 75.0),
)


@functools.cache
def peak_of(device: torch.device, precision: str) -> Peak:
    """Of one device in ``precision`` (fp32, bf16 or fp16), in the way torch is set to multiply float32."""
    if device.type == "cuda":
        tf32 = torch.get_float32_matmul_precision() != "highest"
        known = sheet_flops(torch.cuda.get_device_name(device), precision, tf32)
        if known is not None:
            return Peak(known, "sheet")
    return Peak(measured_flops(device, precision), "measured")


def sheet_flops(name: str, precision: str, tf32: bool = False) -> float | None:
    """Dense FLOP/s of the GPU of that name; ``tf32``: float32 is multiplied in TF32. None: unknown, or it does not
    compute in that precision."""
    found = next((sheet for sheet in _SHEETS if re.search(sheet.pattern, name, re.IGNORECASE)), None)
    return found.flops(precision, tf32) if found is not None else None


def measured_flops(device: torch.device, precision: str) -> float:
    """The fastest of some products of square matrices, with the threads that torch has; takes half a second.

    They grow while the time allows: on a CPU without fp16 such products are very slow. Small ones alone would not do:
    on a busy machine they take as long as threads wait for each other.
    """
    square = torch.ones(_SMALLEST, _SMALLEST, device=device, dtype=_DTYPES[precision])
    _product_flops(square)  # the very first product of a process is slow
    best = last = _product_flops(square)
    while len(square) < _LARGEST.get(device.type, _SMALLEST) and 2.0 * (2 * len(square)) ** 3 < last * _MEASURED_FOR_S:
        square = square.repeat(2, 2)
        last = _product_flops(square)
        best = max(best, last)
    began = time.perf_counter()
    while time.perf_counter() - began < _MEASURED_FOR_S:
        best = max(best, _product_flops(square))
    return best


def _product_flops(square: torch.Tensor) -> float:
    product = torch.empty_like(square)
    _synchronise(square.device)
    began = time.perf_counter()
    torch.mm(square, square, out=product)
    _synchronise(square.device)
    return 2.0 * len(square) ** 3 / (time.perf_counter() - began)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
