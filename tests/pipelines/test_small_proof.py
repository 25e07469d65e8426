"""The small proof, whole, as a user starts it: its clips are learnt by heart, and a second run finds all of it there.

What it would say of a mistake in loss, masks, boxes or captions is shown by tests/train/test_mutations.py, in a world
without a detector, whose features would tell the clips of a small set apart without their boxes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.proof.findings import Findings
from pipelines.proof.scale import SMALL


def prove(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", "proof", "--scale", "small", "--out", str(folder), "--cores", "2"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.ray
@pytest.mark.slow
def test_the_small_proof_holds_and_is_not_made_twice(tmp_path: Path) -> None:
    made = prove(tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "19 of 19 steps were made" in made.stdout and "holds: training clips known by heart" in made.stdout
    page = (tmp_path / "docs/results.md").read_text()
    assert "at scale `small`" in page and "does not hold" not in page
    found = Findings.model_validate_json((tmp_path / "docs/results/results.json").read_bytes())
    assert found.scale == SMALL and found.bag_of_objects < found.oracle and found.tuned.mean >= 0.9 * found.oracle
    assert json.loads((tmp_path / "done/shards.json").read_bytes())["seconds"] > 0
    again = prove(tmp_path)
    assert again.returncode == 0 and "0 of 19 steps were made" in again.stdout, again.stdout + again.stderr
