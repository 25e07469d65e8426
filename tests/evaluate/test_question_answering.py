"""Open-ended questions on a world whose right answers are known: figures, their table, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

import evaluate.answers
from data_specs.errors import InputError
from data_specs.manifest import ManifestInfo, Question
from evaluate import accuracy
from evaluate.inputs import open_inputs
from evaluate.protocol import MissingItemsError
from evaluate.question_answering import (
    Answers,
    QuestionAnsweringOptions,
    evaluate_question_answering,
    summary,
    write_answers,
)
from evaluate.result import QuestionAnsweringResult
from tests.evaluate.conftest import THINGS, WIDTH, WORDS, StandInTokenizer
from train.batch import RegionBatch, TextBatch
from train.config import ModelConfig


class Answerer:
    """Answers with what the clip shows (a point for each region), unless the question names things (3 points each)."""

    device = torch.device("cpu")

    def __init__(self, answers: tuple[str, ...] = THINGS) -> None:
        self.config = ModelConfig.model_validate({"feature_dim": WIDTH, "frames": 3, "regions": 4, "joint_dim": WIDTH})
        self.tokenizer = StandInTokenizer()
        self.answers = answers
        self.clips = 0
        self.most_questions = 0

    def encode_video(self, batch: RegionBatch) -> tuple[torch.Tensor, torch.Tensor]:
        self.clips += len(batch)
        return batch.features_BFRV.float().flatten(1, 2), batch.mask_BFR.flatten(1)

    def answer(self, regions_BNE, mask_BN, text: TextBatch, clip_Q) -> torch.Tensor:
        self.most_questions = max(self.most_questions, len(text))
        seen_QE = (regions_BNE * mask_BN[..., None]).sum(1)[clip_Q]
        points_QE = seen_QE + 3 * F.one_hot(text.input_ids_CL, WIDTH).sum(1)
        named = [WORDS.index(answer) if answer in WORDS else 0 for answer in self.answers]
        return points_QE[:, named] * torch.tensor([answer in WORDS for answer in self.answers])


def asked(key: str, question: str, answer: str, kind: str = "") -> Question:
    return Question(question, answer, kind, key=key)


CHOICE = Question("", "jugs", "multiple_choice", ("jugs", "bells"), 0, "choice")
QUESTIONS = {
    "anvil": (asked("a0", "what", "jug"), asked("a1", "what", "jug"), CHOICE),
    "bell": (asked("b0", "what", "harp"),),
    "globe": (asked("g0", "What moves ?", "globe", "object"), asked("g1", "how many globes", "two", "number")),
    "harp": (
        CHOICE,
        asked("h0", "who harp jug", "jug", "object"),  # the harp gets 5
        asked("h1", "which bell drum", "drum"),  # both get 3
    ),
    "inkwell": (CHOICE,),
    "jug": (asked("j0", "is the jug there", "jug", "object"),),
}


def run(model: object, world: object, out: Path, **options: object) -> Answers:
    settings = QuestionAnsweringOptions.model_validate({"resamples": 20, "frames": 1, **options})
    inputs = open_inputs(out / "no-model", world.shards, world.manifest)
    found = evaluate_question_answering(model, inputs, out, settings)
    assert found is not None
    return found


@pytest.fixture
def world(make_world):
    return make_world(questions=QUESTIONS)


def test_the_most_probable_answer_is_right_or_shares_the_point(world, tmp_path) -> None:
    model = Answerer()
    found = run(model, world, tmp_path)
    assert [q.key for q in found.plan.questions] == ["g0", "g1", "h0", "h1", "j0"]
    assert found.plan.ids == ("globe", "harp", "jug")  # nobody asks an open question about the inkwell
    assert model.clips == 3
    assert found.predicted == ["globe", "globe", "harp", "bell", "jug"]
    assert found.correct_Q.tolist() == [1.0, 0.0, 0.0, 0.5, 1.0]
    points = np.array([[0, 0, 0, 0, 0, 0, 2, 0, 0, 0], [0, 3, 0, 3, 0, 0, 0, 2, 0, 0]])  # g0 and h1
    chances = np.exp(points) / np.exp(points).sum(1, keepdims=True)
    assert found.probability_Q[[0, 3]] == pytest.approx([chances[0, 6], chances[1, 1]])
    assert found.right_probability_Q[[0, 3]] == pytest.approx([chances[0, 6], chances[1, 3]])
    assert np.isnan(found.right_probability_Q).tolist() == [False, True, False, False, False]


def test_the_figures_by_hand(world, tmp_path) -> None:
    result = run(Answerer(), world, tmp_path).result
    assert result.accuracy == pytest.approx(50.0)
    assert (result.questions, result.questions_planned, result.videos) == (5, 5, 3)
    assert (result.vocabulary, result.vocabulary_shared, result.covered) == (10, None, 4)
    assert (result.majority_answer, result.majority_from) == ("jug", "train")
    assert result.majority_accuracy == pytest.approx(40.0)
    by_type = [(g.name, g.questions, g.covered, g.accuracy) for g in result.by_answer_type]
    assert by_type == [
        ("object", 3, 3, pytest.approx(200 / 3)),
        ("not given", 1, 1, 50.0),
        ("number", 1, 0, 0.0),
    ]
    by_word = [(g.name, g.questions, g.accuracy) for g in result.by_question_word]
    assert by_word == [
        ("how many", 1, 0.0),
        ("is/does", 1, 100.0),
        ("what", 1, 100.0),
        ("which", 1, 50.0),
        ("who", 1, 0.0),
    ]
    assert result.confusion.answers == ("jug", "drum", "globe", "two")
    assert result.confusion.counts == ((1, 0, 0, 0, 1), (0, 0, 0, 0, 1), (0, 0, 1, 0, 0), (0, 0, 1, 0, 0))
    assert "10 answers" in result.score
    low, high = result.accuracy_interval
    assert summary(result) == (
        f"accuracy 50.0 (95 % {low:.1f} to {high:.1f}, majority answer 40.0, vocabulary covers 80.0 %)"
        " (made-up/all, setting unknown, 5 questions, 3 videos)"
    )


def test_every_figure_follows_from_the_table(world, tmp_path) -> None:
    found = run(Answerer(), world, tmp_path)
    write_answers(tmp_path, found)
    result = QuestionAnsweringResult.model_validate_json((tmp_path / "question_answering.json").read_bytes())
    assert result == found.result
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [row["key"] for row in rows] == [q.key for q in found.plan.questions]
    assert [row["right_probability"] is None for row in rows] == [False, True, False, False, False]
    for row in rows:  # so many answers are tied at the top as the share of the point says
        right = row["right_probability"] == row["probability"]
        assert (row["correct"] > 0) == right and (row["correct"] == 1.0) <= (row["predicted"] == row["answer"])

    def figures(part: list[dict]) -> dict[str, object]:
        correct, videos = np.array([row["correct"] for row in part]), np.array([row["video"] for row in part])
        return {
            "questions": len(part),
            "covered": sum(row["right_probability"] is not None for row in part),
            "accuracy": pytest.approx(100 * correct.mean()),
            "accuracy_interval": pytest.approx(accuracy.interval(correct, videos, resamples=20)),
        }

    assert result.model_dump(include=set(figures(rows))) == figures(rows)
    for groups, key in (
        (result.by_answer_type, lambda row: row["answer_type"] or "not given"),
        (result.by_question_word, lambda row: accuracy.question_word(row["question"])),
    ):
        assert sum(group.questions for group in groups) == len(rows)
        for group in groups:
            part = [row for row in rows if key(row) == group.name]
            assert group.model_dump() == {"name": group.name, **figures(part)}
    majority = np.mean([row["answer"] == result.majority_answer for row in rows])
    assert result.majority_accuracy == pytest.approx(100 * majority)
    counts = Counter((row["answer"], row["predicted"]) for row in rows)
    shown = result.confusion.answers
    assert list(shown) == sorted(
        {row["answer"] for row in rows}, key=lambda a: (-sum(r["answer"] == a for r in rows), a)
    )
    for answer, line in zip(shown, result.confusion.counts, strict=True):
        others = sum(n for (true, given), n in counts.items() if true == answer and given not in shown)
        assert list(line) == [*(counts[answer, given] for given in shown), others]


def test_a_model_that_knows_nothing_gets_a_share_of_the_vocabulary(world, tmp_path) -> None:
    class Blank(Answerer):
        def answer(self, regions_BNE, mask_BN, text, clip_Q):
            return torch.full((len(text), len(self.answers)), 0.25)

    found = run(Blank(), world, tmp_path)
    assert found.correct_Q.tolist() == [0.1, 0.0, 0.1, 0.1, 0.1]
    assert found.predicted == ["anvil"] * 5  # the first of the vocabulary, whatever the order of the questions
    assert found.probability_Q == pytest.approx(np.full(5, 0.1))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_questions_go_through_the_model_in_blocks(world, tmp_path, monkeypatch, at_once: int) -> None:
    whole = run(Answerer(), world, tmp_path, splits=("train", "test"))
    monkeypatch.setattr(evaluate.answers, "QUESTIONS_AT_ONCE", at_once)
    model = Answerer()
    found = run(model, world, tmp_path, splits=("train", "test"))
    assert model.most_questions == min(at_once, len(found.plan.questions))
    assert found.result == whole.result and found.predicted == whole.predicted
    assert found.result.questions == 8


@pytest.mark.parametrize("clips", [1, 2])
def test_videos_go_through_the_model_in_blocks(world, tmp_path, clips: int) -> None:
    whole = run(Answerer(), world, tmp_path)
    heard: list[tuple[int, int]] = []
    inputs = open_inputs(tmp_path / "no-model", world.shards, world.manifest)
    settings = QuestionAnsweringOptions(resamples=20, frames=1, batch_size=clips)
    found = evaluate_question_answering(
        Answerer(), inputs, tmp_path, settings, progress=lambda *said: heard.append(said)
    )
    assert found is not None and found.result == whole.result
    assert sum(done for done, _ in heard) == 5 and {of for _, of in heard} == {5}


def test_vocabularies_are_compared_by_text(make_world, tmp_path) -> None:
    info = ManifestInfo("made-up", "made-up/qa", answers=("jug", "globe", "two"))
    other = Answerer(answers=("two", "jug", "kite"))
    result = run(other, make_world(questions=QUESTIONS, info=info), tmp_path).result
    assert (result.vocabulary, result.vocabulary_shared, result.covered) == (3, 2, 3)
    reordered = run(Answerer(("two", "globe", "jug")), make_world(questions=QUESTIONS, info=info), tmp_path).result
    assert reordered.vocabulary_shared is None and reordered.covered == 4


def test_without_training_questions_the_majority_is_of_the_evaluated_ones(make_world, tmp_path) -> None:
    questions = {name: QUESTIONS[name] for name in ("globe", "harp", "jug")}
    result = run(Answerer(), make_world(questions=questions), tmp_path).result
    assert (result.majority_answer, result.majority_from) == ("jug", "test")
    tied = {"globe": (asked("0", "what", "jug"), asked("1", "what", "anvil"))}
    assert run(Answerer(), make_world(questions=tied), tmp_path).result.majority_answer == "anvil"


def test_missing_videos_are_refused_or_counted(make_world, tmp_path) -> None:
    world = make_world(questions=QUESTIONS, absent=["inkwell"], failed=["harp"])
    with pytest.raises(MissingItemsError, match="1 of 3 videos of made-up/all are missing"):
        run(Answerer(), world, tmp_path)
    found = run(Answerer(), world, tmp_path, allow_missing=True)
    assert found.correct_Q.tolist() == [1.0, 0.0, 1.0]
    assert "3/5 questions, 2/3 videos" in summary(found.result)
    assert "cut short" in (tmp_path / "question_answering.missing.jsonl").read_text()


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (ManifestInfo("made-up", "made-up/all"), r"manifest\.parquet \(made-up/all\) has no open-ended question"),
        (ManifestInfo("msrvtt", "mc"), "python -m data_specs build msrvtt --protocol qa"),
        (ManifestInfo("lsmdc", "retrieval"), "lsmdc has no protocol for them"),
    ],
)
def test_a_manifest_without_questions_is_refused(make_world, tmp_path, info: ManifestInfo, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(Answerer(), make_world(questions={"jug": (CHOICE,)}, info=info), tmp_path)


def test_a_model_that_diverged_is_refused(world, tmp_path) -> None:
    class Diverged(Answerer):
        def answer(self, regions_BNE, mask_BN, text, clip_Q):
            return super().answer(regions_BNE, mask_BN, text, clip_Q) * torch.nan

    with pytest.raises(InputError, match="cannot be evaluated: the scores of 5 of 5 questions are not numbers"):
        run(Diverged(), world, tmp_path)
