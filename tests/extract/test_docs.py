"""docs/extraction.md says what is so: its commands parse, its reasons are all there, its bytes are the contract's."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import numpy as np
import pytest

from data_specs.failures import Reason
from data_specs.regions import BOX_DIM, Regions
from data_specs.samples import Sample
from extract.__main__ import main
from extract.cost import Measured, predict, stored_bytes
from extract.npz.layout import RELEASE_TEMPLATES
from extract.settings import MediaLimits

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "extraction.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
COMMANDS = re.findall(r"^python -m extract (.*)$", CODE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    line = re.sub(r"\$\(\(.*?\)\)", "32", line).replace("$ip:$port", "10.0.0.1:6379")
    name, *arguments = shlex.split(line)
    with main.commands[name].make_context(name, arguments) as context:
        assert isinstance(context, click.Context)


def test_the_slurm_job_is_a_script(tmp_path: Path) -> None:
    (script,) = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    job = tmp_path / "extract.sbatch"
    job.write_text(script)
    done = subprocess.run(["bash", "-n", str(job)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_is_there() -> None:
    told = {line.split()[0] for line in COMMANDS}
    assert told == set(main.commands) - {"train-shapes-detector"}


def test_every_reason_and_limit_is_there() -> None:
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in TEXT] == []
    assert [name for name in MediaLimits.model_fields if f"`limits.{name}`" not in TEXT] == []
    assert [template for template in RELEASE_TEMPLATES if "{n}" in template and f"`{template}`" not in TEXT] == [
        "{name}_{n}.npz"
    ]


def bytes_a_video(frames: int, attributes: bool) -> int:
    shape = (frames, 30)
    extra = (np.full(shape, -1, np.int32), np.zeros(shape, np.float32)) if attributes else ()
    regions = Regions(
        np.zeros((*shape, 2048), np.float16),
        np.zeros((*shape, BOX_DIM), np.float32),
        np.zeros(shape, np.float32),
        np.full(shape, -1, np.int32),
        np.zeros(frames, np.int32),
        *extra,
    )
    caption = "Aerial shot of a winter forest with a road and a small village at sunset"
    times = tuple(frame + 0.123456 for frame in range(frames))
    return stored_bytes(Sample("1066674784", "train", "video", (caption,), (), times, (336, 596), regions))


def test_disk_is_the_contracts() -> None:
    for frames in (1, 8):
        for attributes in (False, True):
            size = bytes_a_video(frames, attributes)
            row = f"| {frames} | {'yes' if attributes else 'no'} | {size:,} | {size * 2.5e6 / 1e12:.3f} TB |"
            assert row in TEXT
    sizes = [round(256 * bytes_a_video(frames, False) / 1e6) for frames in (1, 8)]
    assert f"A shard of 256 videos is {sizes[0]} MB at 1 frame and {sizes[1]} MB at 8." in TEXT


def test_hours_are_the_formulas() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| ([\d,.]+) \| ([\d,.]+) \| ([\d,.]+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 6
    for seconds, *hours in rows:
        each = Measured(0.0, float(seconds), 0.0, 0)
        for workers, said in zip((1, 8, 32), hours, strict=True):
            expected = predict(each, 2_500_000, workers, workers, "cuda") / 3600
            assert float(said.replace(",", "")) == pytest.approx(expected, rel=0.02)


def test_readme_links_here() -> None:
    assert "docs/extraction.md" in (ROOT / "README.md").read_text(encoding="utf-8")
