"""Peaks: from the sheet by a device's name, else measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from train.forecast import peak
from train.forecast.peak import measured_flops, peak_of, sheet_flops


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("Tesla V100-SXM2-32GB", "fp16", 125),
        ("Tesla V100-PCIE-16GB", "fp16", 112),
        ("Tesla V100-SXM2-32GB", "fp32", 15.7),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA A10G", "bf16", 70),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H200", "fp16", 989),
        ("NVIDIA GH200 480GB", "bf16", 989),
        ("NVIDIA B200", "bf16", 2250),
    ],
)
def test_sheets(name: str, precision: str, tflops: float) -> None:
    assert sheet_flops(name, precision) == tflops * 1e12


def test_what_no_sheet_says_is_none() -> None:
    assert sheet_flops("NVIDIA L400", "bf16") is None
    assert sheet_flops("Radeon", "bf16") is None
    assert sheet_flops("Tesla V100-SXM2-32GB", "bf16") is None, "it has no bf16"


def test_tf32_where_there_is_some() -> None:
    assert sheet_flops("NVIDIA A100-SXM4-40GB", "fp32", tf32=True) == 156e12
    assert sheet_flops("Tesla T4", "fp32", tf32=True) == 8.1e12


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_is_measured(precision: str) -> None:
    found = peak_of(torch.device("cpu"), precision)
    assert found.source == "measured" and 1e6 < found.flops < 1e15


@pytest.mark.parametrize(("flops", "largest"), [(1e8, 256), (1e9, 512), (1e10, 1024), (1e13, 1024)])
def test_a_slow_device_is_measured_in_bounded_time(monkeypatch: pytest.MonkeyPatch, flops: float, largest: int) -> None:
    """A device of that speed, by its own clock."""
    now, sizes = [0.0], []

    def product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        sizes.append(len(left))
        now[0] += 2 * len(left) ** 3 / flops + 1e-5

    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(torch, "mm", product)
    assert measured_flops(torch.device("cpu"), "fp16") == pytest.approx(flops, rel=0.1)
    assert max(sizes) == largest and now[0] < 1.2


def test_a_busy_machine_is_measured_at_large_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other add the same to every product."""
    now = [0.0]

    def product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        now[0] += 2 * len(left) ** 3 / 1e11 + 0.03

    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(torch, "mm", product)
    assert measured_flops(torch.device("cpu"), "fp32") == pytest.approx(2 * 1024**3 / (0.03 + 2 * 1024**3 / 1e11))
