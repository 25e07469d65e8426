"""What a run wrote down, without what depends on the clock."""

from __future__ import annotations

import json
from pathlib import Path

CLOCK = ("samples_per_s", "waiting", "mfu", "device_hours", "device_hours_to_go", "eta_hours", "peak_memory_mb")


def curve(run: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]
