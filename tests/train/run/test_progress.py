"""The progress display: what a terminal of any width shows, and the lines where there is none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from train.run.progress import ProgressReport, describe, duration

STEP = {
    "step": 1234, "epoch": 3, "loss": 3.21412, "loss_global": 1.6, "loss_local": 1.61412, "batch_v2t_R@1": 0.41,
    "batch_t2v_R@1": 0.3951, "lr": 2e-4, "grad_norm": 1.2345, "samples_per_s": 312.4, "waiting": 0.031, "mfu": 0.412,
    "device_hours": 12.31, "device_hours_to_go": 91.7, "seconds_to_go": 41270.0, "peak_memory_mb": 23100.0,
}  # fmt: skip
SEEN = (
    "loss 3.2141 = 1.600 global + 1.614 local", "R@1 in batch 41%/40%", "lr 0.0002", "gradient 1.23", "312 samples/s",
    "waiting 3%", "MFU 41%", "12.3 of 104 device-hours", "peak 23.1 GB", "11 h 28 min left",
)  # fmt: skip


def console(width: int, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False, soft_wrap=True
    )


@pytest.mark.parametrize("width", [200, 100, 60, 45])
def test_a_terminal_of_any_width_shows_all(width: int) -> None:
    screen = console(width, terminal=True)
    with ProgressReport(50_000, 1233, every=10, console=screen) as report:
        report.say("a line [that] stays")
        report.step(STEP)
    shown = screen.file.getvalue()
    last = shown[shown.rindex("train 1,234/50,000") :]
    assert all(part in last for part in SEEN) and "a line [that] stays" in shown
    lines = [line.rstrip() for line in last.splitlines() if line.strip() and "\x1b" not in line]
    assert max(map(len, lines)) <= width
    assert len(lines) == 3 if width >= 100 else len(lines) <= 8


def test_plain_lines_now_and_then_and_at_the_end() -> None:
    screen = console(80, terminal=False)
    with ProgressReport(25, 0, every=10, console=screen) as report:
        for step in range(1, 26):
            report.step(STEP | {"step": step})
        report.validation({"step": 25, "epoch": 1, "r1_t2v": 0.25, "median_rank_t2v": 3.0})
    lines = screen.file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "step 10/25", "step 20/25", "step 25/25", "validation at step 25",
    ]  # fmt: skip
    assert all(part in lines[0] for part in SEEN)
    assert lines[-1] == "validation at step 25  r1_t2v 0.25  median_rank_t2v 3"


def test_of_several_ranks_one_speaks() -> None:
    for terminal in (True, False):
        screen = console(80, terminal)
        with ProgressReport(2, 0, every=1, console=screen, shown=False) as report:
            report.say("hello"), report.step(STEP), report.validation(STEP)
        assert screen.file.getvalue() == ""


def test_what_is_not_measured_is_left_out() -> None:
    assert describe({"step": 1}) == [[], []]
    assert describe({"step": 1, "loss": 2.0, "mfu": 0.5}) == [["loss 2.0000"], ["MFU 50%"]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3569, "59 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min"),
        (47.4 * 3600, "47 h 24 min"), (76 * 3600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
