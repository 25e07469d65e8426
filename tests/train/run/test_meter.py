"""The meter: closed forms of what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train.run.meter import TIMED, Meter, peak_memory_mb


def test_closed_form() -> None:
    meter = Meter(total_steps=110, done=100, peak=1e9, spent=7200.0, window=2)
    assert meter.values() == {}
    meter.step(seconds=50.0, waited=50.0, samples=1, flops=1.0, ranks=2)  # leaves the window
    meter.step(seconds=2.0, waited=0.5, samples=64, flops=1e9, ranks=2)
    meter.step(seconds=3.0, waited=0.0, samples=56, flops=2e9, ranks=2)
    meter.beside(seconds=6.0, ranks=2)
    values = meter.values()
    assert set(values) | {"peak_memory_mb"} == set(TIMED)
    assert values["samples_per_s"] == pytest.approx(120 / 5)
    assert values["waiting"] == pytest.approx(0.5 / 5)
    assert values["mfu"] == pytest.approx(3e9 / (5 * 2 * 1e9))
    assert meter.spent == 7200 + 2 * (50 + 2 + 3 + 6)
    assert values["device_hours"] == pytest.approx(meter.spent / 3600)
    assert values["seconds_to_go"] == pytest.approx(7 * (5 / 2 + 6 / 3))
    assert values["device_hours_to_go"] == pytest.approx(values["seconds_to_go"] * 2 / 3600)


def test_what_was_spent_goes_over_a_resume_and_a_change_of_ranks() -> None:
    first = Meter(total_steps=4)
    first.step(10.0, 0.0, 8, 0.0, ranks=4)
    second = Meter(total_steps=4, done=1, spent=first.spent)
    for _ in range(3):
        second.step(20.0, 0.0, 8, 0.0, ranks=2)
    assert second.spent == 40 + 3 * 40
    assert second.values()["seconds_to_go"] == 0 and "mfu" not in second.values()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it a second way")
def test_memory_is_the_most_that_the_process_held() -> None:
    found = peak_memory_mb(torch.device("cpu"))
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert found == pytest.approx(int(line.split()[1]) * 1024 / 1e6, rel=0.02)
