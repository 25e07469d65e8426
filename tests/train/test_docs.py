"""docs/training.md says what is so: its commands parse, its configuration is one, its table is the published one."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from pipelines.pipeline import pipeline_names, pipeline_tree
from train.__main__ import main
from train.config import TrainConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
COMMANDS = re.findall(r"(?:python|torchrun.*) -m train ([^'\n]*)", CODE)
SETTINGS = re.findall(r"`((?:[a-z]+\.)?[a-z_]+)=([^`]+)`", TEXT)


def block(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return found


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    name, *arguments = shlex.split(line)
    with main.commands[name].make_context(name, arguments) as context:
        assert isinstance(context, click.Context)


def test_every_command_is_there() -> None:
    assert {line.split()[0] for line in COMMANDS} == set(main.commands)


def test_the_configuration_is_one() -> None:
    TrainConfig.model_validate(yaml.safe_load(block("yaml")))


def test_the_slurm_job_is_a_script(tmp_path: Path) -> None:
    job = tmp_path / "pretrain.sbatch"
    job.write_text(block("bash"))
    done = subprocess.run(["bash", "-n", str(job)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"[ ! -e {yaml.safe_load(block('yaml'))['out']}/model ]" in block("bash")


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_exist(name: str, value: str) -> None:
    """``loss.gather=false`` in the text is a key of the configuration, with a value that it takes."""
    section, _, key = name.rpartition(".")
    tree = yaml.safe_load(block("yaml"))
    if section == "start":
        tree["start"] = {"model": "models/released"}
    (tree.setdefault(section, {}) if section else tree)[key] = yaml.safe_load(value)
    TrainConfig.model_validate(tree)


def test_published_hours_are_the_estimates() -> None:
    from train.forecast.estimate import PUBLISHED

    rows = re.findall(r"^\| `make (pretrain[\w-]*)` \| (\d) \| (\d+) % \| ([\d,]+) \|", TEXT, re.MULTILINE)
    found = {(int(frames), int(share) / 100): int(hours.replace(",", "")) for _, frames, share, hours in rows}
    assert found == PUBLISHED
    assert {name for name, *_ in rows} == {name for name in pipeline_names() if name.startswith("pretrain")}
    for name, frames, share, _ in rows:
        variables = {key: variable.get("default") for key, variable in pipeline_tree(name)["variables"].items()}
        assert (variables["frames"], variables["subset"]) == (int(frames), int(share) / 100)
        assert variables["epoch_samples"] == 1_000_000 * int(share) // 100


def test_readme_links_here() -> None:
    assert "docs/training.md" in (ROOT / "README.md").read_text(encoding="utf-8")
