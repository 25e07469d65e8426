"""Runs that learn to answer: by heart, in chunks, on two ranks, after a stop, and what they refuse."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.nn import functional as F

from data_specs.configuration import dump
from data_specs.errors import InputError
from data_specs.manifest import Question
from tests.train.children import start_ranks
from tests.train.conftest import COLOURS, SHAPES
from tests.train.curves import curve
from train.__main__ import main
from train.answering import AnsweringModel, is_answering
from train.config import ModelConfig, TrainConfig
from train.history import read_history
from train.model import RegionTextModel
from train.stream import RegionStream
from train.tasks.answering import PATIENCE, SILENCE, Accuracy, Answering, Questions
from train.trainer import Trainer, train

ANSWERS = (*COLOURS, *SHAPES)
UNKNOWN = "nobody knows"


def asked_of(number: int) -> dict[str, Any]:
    """Two to four questions of a clip, one of them a multiple choice; each seventh clip's answers are outside."""
    colour, shape = COLOURS[number // 4 % 4], SHAPES[number % 4]
    told = [("a moves", colour), ("a ##s", shape), (f"{shape} moves left", colour)][: 1 + number % 3]
    questions = tuple(Question(text, answer if number % 7 else UNKNOWN) for text, answer in told)
    return {"questions": (*questions, Question("which", "a", options=("a", "b"), label=0))}


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), (3, 5, 2), told=asked_of)


@pytest.fixture
def settings(shards: Path, model_config: ModelConfig, tmp_path: Path) -> Callable[..., TrainConfig]:
    answers = tmp_path / "answers.txt"
    answers.write_text("\n".join(ANSWERS))

    def make(name: str = "run", **changes: Any) -> TrainConfig:
        data = {"shards": [shards], "frames": 2, "regions": 4, "batch_size": 4, "shuffle_window": 3, "questions": 2}
        tree = {
            "out": tmp_path / name, "model": model_config.model_dump(),
            "answering": {"answers": answers, "hidden": 16},
            "optimiser": {"lr": 1e-3, "milestones": [3], "warmup_steps": 2},
            "epochs": 4, "threads": 1, "device": "cpu", "seed": 5,
        }  # fmt: skip
        return TrainConfig.model_validate(tree | changes | {"data": data | changes.get("data", {})})

    return make


def test_questions_are_learnt_by_heart_and_validation_sees_it(
    make_shards: Callable[..., Path], settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    six = make_shards(tmp_path / "six", (8,), told=asked_of)
    config = settings(
        data={"shards": [six], "batch_size": 8, "draw_frames": False, "questions": 3},
        validation={"shards": [six], "splits": ["train"], "every": 40},
        optimiser={"lr": 3e-3, "schedule": "cosine"}, epochs=120,
        answering={"answers": settings().answering.answers, "hidden": 64, "dropout": 0.0},
    )  # fmt: skip
    outcome = train(config)
    lines = [line for line in curve(outcome.run) if line["kind"] == "train"]
    # 8 clips have 1, 2, 3, 1, ... questions; those of clips 0 and 7 have no answer in the vocabulary.
    assert {(line["questions"], line["outside"]) for line in lines} == {(12, 3)}
    assert lines[0]["accuracy"] < 0.7 and lines[0]["loss"] > 1.5
    assert lines[-1]["accuracy"] == 1 and lines[-1]["loss"] < 0.2
    assert "temperature" not in lines[0] and lines[0]["grad_norm"] > 0
    held = [line for line in curve(outcome.run) if line["kind"] == "validation"]
    assert [line["step"] for line in held] == [40, 80, 120]
    assert held[-1]["accuracy"] == pytest.approx(12 / 15), "what is outside counts as wrong"
    best = AnsweringModel.from_pretrained(config.out / "best")
    labels = {answer: label for label, answer in enumerate(ANSWERS)}
    again = Accuracy(config, [], labels)(best, nullcontext)
    assert again["accuracy"] == max(line["accuracy"] for line in held)


def test_a_resumed_run_equals_an_uninterrupted_one(
    settings: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"optimiser": {"lr": 1e-3, "ema_decay": 0.5}}
    whole = train(settings("whole", **own))
    step = Trainer._step

    def interrupted_step(self: Trainer, *arguments: Any) -> dict[str, float]:
        if self.position.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted_step)
        assert train(settings("broken", **own)).steps == 3
    torch.manual_seed(123)
    second = train(settings("broken", **own), resume=True)
    assert curve(second.run) == curve(whole.run)
    for name in ("model.safetensors", "answers.safetensors"):
        one, other = (load_file(run.model / name) for run in (whole, second))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_resumed_run_wants_its_answers(settings: Callable[..., TrainConfig], tmp_path: Path) -> None:
    config = settings(max_steps=1)
    train(config)
    (tmp_path / "moved.txt").write_text("\n".join(ANSWERS))
    moved = {"answers": tmp_path / "moved.txt", "hidden": 16}
    assert train(settings(max_steps=2, answering=moved), resume=True).steps == 2
    (tmp_path / "moved.txt").write_text("\n".join(reversed(ANSWERS)))
    with pytest.raises(InputError, match="the answers are not those that this run was started on"):
        train(settings(max_steps=3, answering=moved), resume=True)
    with pytest.raises(InputError, match=r"answering\.hidden was 16, is 8"):
        train(settings(max_steps=3, answering=moved | {"hidden": 8}), resume=True)


def test_loss_and_gradient_are_those_of_the_questions_that_are_known(settings: Callable[..., TrainConfig]) -> None:
    """In one piece and in chunks, of which some know nothing."""
    calm = {"optimiser": {"freeze_text": True}, "data": {"batch_size": 8, "questions": 3}}
    config = settings(**calm, answering={"answers": settings().answering.answers, "hidden": 16, "dropout": 0.0})
    batch = next(RegionStream(config.data, 7).epoch(0))
    expected, found = None, []
    for chunk_size in (None, 1, 3, 99):
        torch.manual_seed(0)
        assert config.answering is not None
        task = Answering(config.model_copy(update={"chunk_size": chunk_size}), config.answering)
        lesson = task.prepare(batch)
        if expected is None:
            logits, losses = task.model(lesson.video, lesson.text, lesson.clip_Q), []
            for row, asked in zip(logits, batch.questions, strict=True):
                if asked.answer in ANSWERS:
                    losses.append(F.cross_entropy(row, torch.tensor(ANSWERS.index(asked.answer))))
            mean = torch.stack(losses).mean()
            learning = [p for p in task.model.parameters() if p.requires_grad]
            expected = mean.item(), torch.autograd.grad(mean, learning)
        answered = task.learn(task.model, lesson, nullcontext, lambda loss: loss)
        found.append(task.describe(answered))
        assert answered.total.item() == pytest.approx(expected[0], rel=1e-5)
        for parameter, wanted in zip(learning_of(task), expected[1], strict=True):
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)
    assert all(line == pytest.approx(found[0], rel=1e-5) for line in found)
    assert found[0]["outside"] > 0 and found[0]["questions"] + found[0]["outside"] == len(batch.questions)


def learning_of(task: Answering) -> list[torch.nn.Parameter]:
    return [parameter for parameter in task.model.parameters() if parameter.requires_grad]


def test_two_ranks_learn_what_one_learns(settings: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """Ranks of 2 clips and 1, in chunks; one often knows none of its answers while the other does."""
    config = settings(
        "one", data={"batch_size": 3, "questions": 1}, optimiser={"lr": 1e-3, "freeze_text": True}, max_steps=6,
        answering={"answers": settings().answering.answers, "hidden": 16, "dropout": 0.0},
    )  # fmt: skip
    alone = curve(train(config).run)
    path = tmp_path / "config.yaml"
    path.write_text(dump(config.model_copy(update={"out": tmp_path / "two", "chunk_size": 1})))
    for child in start_ranks(["run", str(path)], tmp_path, 2):
        assert child.ended() == 0, child.said()
    together = curve(tmp_path / "two")
    assert any(line["outside"] for line in alone)
    for name in ("loss", "accuracy", "questions", "outside", "grad_norm"):
        assert [line[name] for line in together] == pytest.approx([line[name] for line in alone], rel=1e-3), name


def test_a_batch_of_unknown_answers_teaches_nothing(settings: Callable[..., TrainConfig]) -> None:
    config = settings()
    assert config.answering is not None
    task = Answering(config, config.answering)
    lesson = task.prepare(next(RegionStream(config.data, 7).epoch(0)))
    unknown = Questions(lesson.video, lesson.text, lesson.clip_Q, torch.full_like(lesson.label_Q, -1), lesson.asked)
    answered = task.learn(task.model, unknown, nullcontext, lambda loss: loss)
    line = task.describe(answered)
    assert (line["loss"], line["accuracy"], line["questions"], line["outside"]) == (0, 0, 0, len(unknown.label_Q))
    assert all(not p.grad.any() for p in task.model.parameters() if p.grad is not None)


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_clips_of_which_nothing_is_asked(settings: Callable[..., TrainConfig], chunk_size: int | None) -> None:
    """As on a rank whose share of a batch has no question: it still goes through the model, and counts nothing."""
    config = settings(chunk_size=chunk_size)
    assert config.answering is not None
    task = Answering(config, config.answering)
    silent = replace(next(RegionStream(config.data, 7).epoch(0)), questions=())
    answered = task.learn(task.model, task.prepare(silent), nullcontext, lambda loss: loss)
    line = task.describe(answered)
    assert (line["loss"], line["accuracy"], line["questions"], line["outside"]) == (0, 0, 0, 0)
    with pytest.raises(InputError, match=rf"no open-ended question in the first {SILENCE} batches"):
        for _ in range(SILENCE - 1):
            task.describe(answered)
    assert any(p.grad is not None for p in task.model.parameters())
    assert all(not p.grad.any() for p in task.model.parameters() if p.grad is not None)


def test_a_vocabulary_of_something_else_stops_soon(settings: Callable[..., TrainConfig], tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("yes\nno")
    config = settings(answering={"answers": tmp_path / "other.txt"}, epochs=PATIENCE)
    with pytest.raises(InputError, match=rf"other\.txt: holds none of the answers of the first {PATIENCE} batches"):
        train(config)


def test_each_model_carries_its_history_and_an_equal_head_goes_on(
    settings: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    data = {"questions": 0}
    matched = train(settings("matched", data=data, answering=None, max_steps=3)).model
    slow = {"lr": 1e-12}
    first = train(settings("first", start={"model": matched}, max_steps=1, optimiser=slow)).model
    second = train(settings("second", start={"model": first}, max_steps=2, optimiser=slow)).model
    assert not is_answering(matched) and is_answering(second)
    before, after = (load_file(folder / "answers.safetensors") for folder in (first, second))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, msg=name)
    runs = read_history(second)
    assert runs[:2] == read_history(first) and runs[:1] == read_history(matched)
    assert [(run.objective, run.steps) for run in runs] == [("contrastive", 3), ("answering", 1), ("answering", 2)]
    assert [(s.dataset, s.manifest_sha256, s.splits) for s in runs[0].sources] == [("made-up", "0", ("train",))]
    assert (runs[0].frames, runs[0].regions, runs[0].batch_size) == (2, 4, 4)
    (tmp_path / "more.txt").write_text("\n".join((*ANSWERS, "five")))
    more = {"answers": tmp_path / "more.txt", "hidden": 16}
    other = train(settings("other", start={"model": second}, max_steps=1, optimiser=slow, answering=more)).model
    assert AnsweringModel.from_pretrained(other).answers == (*ANSWERS, "five")
    matched_again = train(settings("again", start={"model": other}, data=data, answering=None, max_steps=1)).model
    assert not is_answering(matched_again) and len(read_history(matched_again)) == 5
    one, two = (RegionTextModel.from_pretrained(folder).state_dict() for folder in (matched, other))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, msg=name)


def test_a_broken_history_is_found_before_anything_is_learnt(settings: Callable[..., TrainConfig]) -> None:
    model = train(settings("first", max_steps=1)).model
    assert model is not None
    (model / "history.json").write_text("[]")
    config = settings("second", start={"model": model})
    with pytest.raises(InputError, match=r"history\.json: not a model's history"):
        train(config)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"questions": 0}}, "answering: data.questions is 0.*set data.questions=1"),
        ({"answering": None}, "data.questions is 2, but .* set answering.answers=FILE"),
    ],
)
def test_answers_and_questions_go_together(
    settings: Callable[..., TrainConfig], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        settings(**changes)


@pytest.mark.parametrize("more", [[], ["--samples", "10", "--ranks", "2"]], ids=["from shards", "made up"])
def test_an_estimate_makes_the_same_steps(
    settings: Callable[..., TrainConfig], tmp_path: Path, more: list[str]
) -> None:
    config = settings(chunk_size=3)
    (tmp_path / "config.yaml").write_text(dump(config))
    result = CliRunner().invoke(main, ["estimate", str(tmp_path / "config.yaml"), *more])
    assert result.exit_code == 0, result.output
    assert "; 8 steps" in result.output and "TFLOP" in result.output
    assert not config.out.exists()


def test_the_journal_is_json_and_the_card_tells(settings: Callable[..., TrainConfig]) -> None:
    outcome = train(settings(max_steps=2))
    assert outcome.model is not None
    line = json.loads((outcome.run / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss", "accuracy", "questions", "outside", "lr", "grad_norm", "mfu", "samples_per_s"} <= line.keys()
    card = (outcome.model / "README.md").read_text()
    assert "2 of each clip at a time" in card and "answering, on made-up (train): 2 steps of 4 clips" in card
