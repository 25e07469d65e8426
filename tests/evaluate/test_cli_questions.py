"""``python -m evaluate multiple-choice`` and ``question-answering`` with a real, untrained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from data_specs.manifest import ManifestInfo, Question
from evaluate.__main__ import main
from evaluate.result import MultipleChoiceResult, QuestionAnsweringResult
from tests.evaluate.conftest import THINGS
from tests.train.children import start_ranks
from train.answering import AnsweringModel
from train.model import RegionTextModel

TABLES = {"multiple-choice": "choices.parquet", "question-answering": "answers.parquet"}
QUESTIONS = {
    thing: (
        Question("", thing, "multiple_choice", (thing, f"the {other} moves", "moves"), 0, f"{thing}-choice"),
        Question(f"the {thing}", "globe" if i % 2 else thing, "object", key=f"{thing}-open"),
        Question("what moves", thing, "object", key=f"{thing}-what"),
    )
    for i, (thing, other) in enumerate(zip(THINGS, THINGS[::-1], strict=True))
}


@pytest.fixture(scope="module")
def answering_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a head; it still serves for multiple choice."""
    folder = tmp_path_factory.mktemp("answering") / "model"
    torch.manual_seed(1)
    AnsweringModel(RegionTextModel.from_pretrained(model_folder), ("globe", "harp", "jug"), 16, 0.5).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def given(answering_folder: Path, make_world: Callable[..., Any]) -> Callable[..., list[str]]:
    """The arguments of a command on a world, but for --out."""

    def of(task: str, *more: str, **world: Any) -> list[str]:
        made = make_world(**{"questions": QUESTIONS, **world})
        data = ["--model", answering_folder, "--shards", made.shards, "--manifest", made.manifest, "--device", "cpu"]
        return [task, *map(str, data), *more]

    return of


def run(arguments: list[str], out: Path) -> Result:
    return CliRunner().invoke(main, [*arguments, "--out", str(out)])


def contents(out: Path, task: str) -> list[bytes]:
    name = task.replace("-", "_")
    return [(out / file).read_bytes() for file in (f"{name}.json", f"{name}.html", TABLES[task])]


def test_multiple_choice_writes_result_table_and_page(given, tmp_path) -> None:
    result = run(given("multiple-choice", "--split", "train", "--split", "test", "--note", "a test"), tmp_path)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith("accuracy ") and "chance 33.3)" in first
    assert "(made-up/all, split train+test, setting unknown, 10 questions, 10 videos)" in first
    assert second == f"report: {tmp_path / 'multiple_choice.html'}"
    assert "one of 3" in result.stderr and "setting unknown" in result.stderr
    stored = MultipleChoiceResult.model_validate_json((tmp_path / "multiple_choice.json").read_bytes())
    assert stored.note == "a test" and stored.questions == 10 and stored.options == {3: 10}


def test_question_answering_writes_result_table_and_page(given, tmp_path) -> None:
    info = ManifestInfo("made-up", "made-up/qa", answers=("globe", "anvil"))
    result = run(given("question-answering", "--frames", "2", info=info), tmp_path)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith("accuracy ") and "vocabulary covers 75.0 %" in first
    assert "(made-up/qa, setting unknown, 8 questions, 4 videos)" in first
    assert second == f"report: {tmp_path / 'question_answering.html'}"
    for said in ("answer type: object", "question word: what", "majority answer (train): 'globe'", "1 stand in both"):
        assert said in result.stderr
    stored = QuestionAnsweringResult.model_validate_json((tmp_path / "question_answering.json").read_bytes())
    assert (stored.vocabulary, stored.vocabulary_shared, stored.covered, stored.frames) == (3, 1, 6, 2)


@pytest.mark.parametrize("task", TABLES)
def test_missing_videos_exit_1_and_leave_no_earlier_result(given, tmp_path, task: str) -> None:
    out = tmp_path / "out"
    assert run(given(task), out).exit_code == 0
    partial = given(task, absent=["jug"])
    refused = run(partial, out)
    assert refused.exit_code == 1
    assert "1 of 4 videos of made-up/all are missing" in refused.stderr and "--allow-missing" in refused.stderr
    listed = f"{task.replace('-', '_')}.missing.jsonl"
    assert [path.name for path in out.iterdir() if path.is_file()] == [listed]
    allowed = run([*partial, "--allow-missing"], out)
    assert allowed.exit_code == 0
    assert "3/4 videos" in allowed.stdout and "3/4 videos" in " ".join(allowed.stderr.split())


@pytest.mark.parametrize(
    ("task", "more", "said"),
    [
        ("multiple-choice", ["--split", "val"], "'val' has no rows"),
        ("question-answering", ["--frames", "9"], "at most 3"),
        ("multiple-choice", ["--cache", "x", "--no-cache"], "give one of them"),
        ("question-answering", ["--device", "abacus"], "device: 'abacus' is none"),
    ],
)
def test_bad_usage_exits_2_with_one_line(given, tmp_path, task: str, more: list[str], said: str) -> None:
    result = run(given(task, *more), tmp_path)
    assert result.exit_code == 2, result.output
    message = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(message) == 1 and said in message[0]


def test_a_model_without_answers_is_refused(given, model_folder, tmp_path) -> None:
    result = run([*given("question-answering"), "--model", str(model_folder)], tmp_path)
    assert result.exit_code == 2 and "this model answers no questions" in result.stderr


@pytest.mark.parametrize("task", TABLES)
def test_a_manifest_without_questions_names_what_to_build(given, tmp_path, task: str) -> None:
    result = run(given(task, questions={}, info=ManifestInfo("msrvtt", "1k-A")), tmp_path)
    assert result.exit_code == 2
    protocol = {"multiple-choice": "mc", "question-answering": "qa"}[task]
    assert f"python -m data_specs build msrvtt --protocol {protocol}" in result.stderr


@pytest.mark.parametrize("task", TABLES)
def test_help_teaches(task: str) -> None:
    result = CliRunner().invoke(main, [task, "--help"])
    assert result.exit_code == 0
    for word in ("--allow-missing", "--media-root", TABLES[task], f"python -m evaluate {task}"):
        assert word in result.output


def test_two_ranks_give_the_files_of_one(given, tmp_path) -> None:
    """Both tasks at once, so that the wait is one."""
    more = ("--split", "train", "--split", "test", "--batch-size", "2")  # five blocks, so both ranks have some
    both = {task: given(task, *more) for task in TABLES}
    children = {}
    for task, arguments in both.items():
        folder = tmp_path / f"logs-{task}"
        folder.mkdir()
        children[task] = start_ranks([*arguments, "--out", str(tmp_path / "two")], folder, 2, package="evaluate")
    for arguments in both.values():
        assert run(arguments, tmp_path / "one").exit_code == 0
    for task, ranks in children.items():
        assert [child.ended() for child in ranks] == [0, 0], [child.said() for child in ranks]
        assert "accuracy" in ranks[0].said() and "accuracy" not in ranks[1].said()
        assert contents(tmp_path / "two", task) == contents(tmp_path / "one", task)


@pytest.mark.parametrize("task", TABLES)
def test_figures_do_not_depend_on_the_batch(given, tmp_path, task: str) -> None:
    whole, small = (given(task, *more) for more in ((), ("--batch-size", "1")))
    lines = [run(arguments, tmp_path / "out").stdout for arguments in (whole, small)]
    assert lines[0] == lines[1] and lines[0].startswith("accuracy")
