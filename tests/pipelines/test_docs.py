"""docs/evaluation.md and the fine-tuning of docs/training.md: their commands are ones, their tables say what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from evaluate.__main__ import main as evaluate_main
from pipelines.pipeline import load_pipeline, pipeline_names
from tests.pipelines.doors import behind, on_this_machine

ROOT = Path(__file__).parents[2]
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
TASKS = sorted(name.removeprefix("eval-") for name in pipeline_names() if name.startswith("eval-"))
SOURCES = "".join(
    path.read_text(encoding="utf-8") for folder in ("evaluate", "pipelines", "train", "data_specs", "extract")
    for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".yaml")
)  # fmt: skip


def commands(text: str, start: str) -> list[str]:
    code = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    return [line for line in code.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("line", [line for line in EVALUATION.splitlines() if "-m evaluate" in line])
def test_evaluations_parse(line: str, tmp_path: Path) -> None:
    whole = next(c for start in ("python", "torchrun") for c in commands(EVALUATION, start) if c.startswith(line[:60]))
    name, *given = shlex.split(whole.partition("-m evaluate ")[2])
    with evaluate_main.commands[name].make_context(name, on_this_machine(given, tmp_path)) as context:
        assert isinstance(context, click.Context)


def test_every_evaluation_is_there() -> None:
    assert set(re.findall(r"-m evaluate ([a-z-]+)", EVALUATION)) == set(evaluate_main.commands)


@pytest.mark.parametrize("line", [*commands(EVALUATION, "make"), *commands(TRAINING, "make finetune")])
def test_doors_open(line: str) -> None:
    """What make would run is a pipeline with these variables."""
    _, target, *given = shlex.split(line.partition("#")[0])
    command, assignments = behind(target, *given)
    assert command[:2] == ["pipelines", "doctor" if target == "doctor" else "run"]
    load_pipeline(command[2], tuple(assignments))


@pytest.mark.parametrize("name", TASKS)
def test_the_table_of_evaluations(name: str) -> None:
    (row,) = re.findall(rf"^\| `make eval-{name}` \|(.*)\|$", EVALUATION, re.MULTILINE)
    retrieval, choices, questions = (cell.strip() for cell in row.split("|"))
    _, values = load_pipeline(f"eval-{name}")
    protocol = f"`{values['dataset']}/{values['protocol']}`"
    assert retrieval == (protocol if values["retrieval"] else "")
    if values["choices_protocol"]:
        assert choices == f"`{values['dataset']}/{values['choices_protocol']}`"
    assert bool(choices) == bool(values["choices"]) and bool(questions) == bool(values["questions"])
    assert values["questions"] is not True or questions == protocol


@pytest.mark.parametrize("name", TASKS)
def test_the_table_of_fine_tunings(name: str) -> None:
    (row,) = re.findall(rf"^\| `make finetune-{name}` \|(.*)\|$", TRAINING, re.MULTILINE)
    learns, epoch, batch = (cell.strip() for cell in row.split("|"))
    _, values = load_pipeline(f"finetune-{name}")
    assert learns.startswith(f"`{values['dataset']}/{values['protocol']}`")
    sizes = [
        str(values[f"{kind}batch_size"]) for kind, on in (("", "retrieval"), ("question_", "questions")) if values[on]
    ]
    assert batch.split("; ") == sizes
    for rounds in re.findall(r"\((\d+) rounds\)", epoch):
        assert int(rounds) == values["rounds" if values["retrieval"] else "question_rounds"]


def test_what_is_quoted_is_said() -> None:
    table = EVALUATION[EVALUATION.index("## When something goes wrong") :]
    for quoted in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE):
        parts = [part.strip(" .") for part in re.split(r"\d+|\.\.\.", quoted)]
        assert all(part in SOURCES for part in parts), quoted


def test_pages_are_linked() -> None:
    assert "evaluation.md" in TRAINING and "data-sets.md" in EVALUATION
