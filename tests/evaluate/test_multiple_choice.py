"""Multiple choice on a world whose right answers are known, its table, and its command with a real model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import InputError
from data_specs.manifest import ManifestInfo, Question
from evaluate import accuracy
from evaluate.inputs import open_inputs
from evaluate.multiple_choice import (
    Choices,
    MultipleChoiceOptions,
    evaluate_multiple_choice,
    summary,
    write_choices,
)
from evaluate.protocol import MissingItemsError
from evaluate.questions import plan_questions
from evaluate.result import MultipleChoiceResult
from evaluate.similarity import score_matrix


def choice(key: str, label: int, *options: str) -> Question:
    return Question("", options[label], "multiple_choice", options, label, key)


# Of three test videos: right, a tie of two, wrong, a tie of three, right.
QUESTIONS = {
    "globe": (
        choice("g0", 1, "the harp moves", "the globe moves", "jugs"),
        choice("g1", 0, "globes", "globes"),
    ),
    "harp": (choice("h0", 2, "the harp moves", "harps", "the jug moves"),),
    "jug": (
        choice("j0", 1, "jugs", "jugs", "jugs", "the bell moves"),
        choice("j1", 0, "the jug moves", "the bell moves", "the anvil moves", "bells", "anvils"),
    ),
    "anvil": (choice("a0", 0, "anvils", "bells"),),
}
OPEN = Question("what moves?", "harp", "what", key="open")


def run(model: object, world: object, out: Path, **options: object) -> Choices:
    settings = MultipleChoiceOptions.model_validate({"resamples": 20, "frames": 1, **options})
    return evaluate_multiple_choice(model, open_inputs(out / "no-model", world.shards, world.manifest), out, settings)


@pytest.fixture
def world(make_world):
    return make_world(questions={**QUESTIONS, "inkwell": (OPEN,)})


def test_the_option_with_the_highest_score_is_right_or_shares_the_point(stand_in, world, tmp_path) -> None:
    found = run(stand_in, world, tmp_path)
    assert [q.key for q in found.plan.questions] == ["g0", "g1", "h0", "j0", "j1"]
    assert found.plan.ids == ("globe", "harp", "jug")  # nobody asks a choice about the inkwell
    assert stand_in.clips == 3
    assert found.correct_Q.tolist() == [1.0, 0.5, 0.0, pytest.approx(1 / 3), 1.0]
    result = found.result
    assert result.accuracy == pytest.approx(100 * (1 + 0.5 + 0 + 1 / 3 + 1) / 5)
    assert result.optimistic == pytest.approx(80.0)
    assert result.chance == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5)
    assert (result.questions, result.questions_planned, result.videos, result.videos_planned) == (5, 5, 3, 3)
    assert result.options == {2: 1, 3: 2, 4: 1, 5: 1}
    assert result.splits == ("test",) and (result.frames, result.regions) == (1, 4)
    low, high = result.accuracy_interval
    assert low <= result.accuracy <= high
    assert summary(result) == (
        f"accuracy 56.7 (95 % {low:.1f} to {high:.1f}, chance 32.3)"
        " (made-up/all, setting unknown, 5 questions, 3 videos)"
    )


def test_scores_are_those_of_the_whole_matrix(stand_in, world, tmp_path) -> None:
    found = run(stand_in, world, tmp_path)
    whole_UB = score_matrix(found.videos, found.texts, stand_in.loss).combined_UB.numpy()
    rows = iter(found.texts.row_C)
    for scores, owner, question in zip(found.scores, found.plan.owner_Q, found.plan.questions, strict=True):
        expected = [whole_UB[next(rows), owner] for _ in question.options]
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_equal_options_tie_to_the_last_bit_and_are_embedded_once(stand_in, world, tmp_path) -> None:
    found = run(stand_in, world, tmp_path)
    assert stand_in.tokenizer.seen.count("the harp moves") == stand_in.tokenizer.seen.count("jugs") == 1
    assert len(set(found.scores[1].tolist())) == 1 and len(set(found.scores[3][:3].tolist())) == 1


def test_a_model_that_knows_nothing_gets_chance(stand_in, world, tmp_path) -> None:
    class Blank(type(stand_in)):
        def encode_text(self, batch):
            found = super().encode_text(batch)
            return type(found)(torch.ones_like(found.cls_CE) / 4, found.words_CLE * 0, found.mask_CL)

    found = run(Blank(), world, tmp_path, splits=("train", "test"))
    assert found.result.questions == 6
    assert found.result.accuracy == pytest.approx(found.result.chance)
    assert found.result.optimistic == 100.0


def test_every_figure_follows_from_the_table(stand_in, world, tmp_path) -> None:
    found = run(stand_in, world, tmp_path)
    write_choices(tmp_path, found)
    result = MultipleChoiceResult.model_validate_json((tmp_path / "multiple_choice.json").read_bytes())
    assert result == found.result
    rows = pq.read_table(tmp_path / "choices.parquet").to_pylist()
    assert [row["key"] for row in rows] == ["g0", "g1", "h0", "j0", "j1"]
    for row, question in zip(rows, found.plan.questions, strict=True):
        assert (row["options"], row["label"], row["question"]) == (list(question.options), question.label, "")
        top = max(row["scores"])
        assert row["scores"][row["predicted"]] == top
        assert row["correct"] == pytest.approx((row["scores"][row["label"]] == top) / row["scores"].count(top))
    correct = np.array([row["correct"] for row in rows])
    assert result.accuracy == pytest.approx(100 * correct.mean())
    assert result.optimistic == pytest.approx(100 * (correct > 0).mean())
    assert result.chance == pytest.approx(100 * np.mean([1 / len(row["options"]) for row in rows]))
    videos = np.array([row["video"] for row in rows])
    assert result.accuracy_interval == pytest.approx(accuracy.interval(correct, videos, resamples=20))


def test_missing_videos_are_refused_or_counted(stand_in, make_world, tmp_path) -> None:
    world = make_world(questions=QUESTIONS, absent=["harp", "inkwell"])
    with pytest.raises(MissingItemsError, match="1 of 3 videos of made-up/all are missing"):
        run(stand_in, world, tmp_path)
    assert [line.split('"')[3] for line in (tmp_path / "multiple_choice.missing.jsonl").read_text().splitlines()] == [
        "harp"
    ]
    found = run(stand_in, world, tmp_path, allow_missing=True)
    assert found.correct_Q.tolist() == [1.0, 0.5, pytest.approx(1 / 3), 1.0]
    assert found.plan.owner_Q.tolist() == [0, 0, 1, 1]
    assert "4/5 questions, 2/3 videos" in summary(found.result)
    assert found.result.missing == 1 and found.result.missing_list == "multiple_choice.missing.jsonl"


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (ManifestInfo("made-up", "made-up/all"), r"manifest\.parquet \(made-up/all\) has no question with options"),
        (ManifestInfo("msrvtt", "1k-A"), "python -m data_specs build msrvtt --protocol mc"),
        (ManifestInfo("lsmdc", "lsmdc/retrieval"), "python -m data_specs build lsmdc --protocol multiple-choice"),
        (ManifestInfo("msrvtt", "mc"), "python -m data_specs show msrvtt"),
        (ManifestInfo("msvd", "qa"), "msvd has no protocol for them"),
    ],
)
def test_a_manifest_without_choices_is_refused(make_world, tmp_path, stand_in, info: ManifestInfo, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(stand_in, make_world(questions={"globe": (OPEN,)}, info=info), tmp_path)


def test_a_choice_whose_right_option_is_unknown_cannot_be_scored(make_world, tmp_path, stand_in) -> None:
    hidden = Question("", "", "multiple_choice", ("a", "b"), -1, "hidden")
    with pytest.raises(
        InputError, match=r"manifest\.parquet: question 'hidden' about 'jug': label -1 is none of its 2 options"
    ):
        run(stand_in, make_world(questions={"jug": (hidden,)}), tmp_path)


def test_a_model_that_diverged_is_refused(stand_in, world, tmp_path) -> None:
    class Diverged(type(stand_in)):
        def encode_text(self, batch):
            found = super().encode_text(batch)
            return type(found)(found.cls_CE * torch.nan, found.words_CLE, found.mask_CL)

    with pytest.raises(InputError, match="scores are not numbers"):
        run(Diverged(), world, tmp_path)


@pytest.mark.parametrize("kept", [(1, 0, 1), (0, 1, 0)])
def test_a_plan_keeps_the_questions_of_its_videos(world, kept: Sequence[int]) -> None:
    manifest = open_inputs(world.shards, world.shards, world.manifest).manifest
    plan = plan_questions(manifest, "multiple-choice")
    part = plan.keep(np.array(kept, bool))
    expected = [q for item, stays in zip(plan.items, kept, strict=True) if stays for q in QUESTIONS[item.id]]
    assert list(part.questions) == expected
    assert [part.ids[owner] for owner in part.owner_Q] == [
        item.id for item, stays in zip(plan.items, kept, strict=True) if stays for _ in QUESTIONS[item.id]
    ]
