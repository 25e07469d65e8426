"""What a run wrote down, without what depends on the clock."""

from __future__ import annotations

import json
from pathlib import Path

from train.run.meter import TIMED


def curve(run: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]
