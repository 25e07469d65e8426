"""A model that answers: what it gives, and its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_specs.errors import InputError
from data_specs.regions import Regions
from train.answering import ANSWERS_NAME, HEAD_NAME, AnsweringModel, is_answering
from train.batch import RegionBatch, collate_regions
from train.config import AnsweringConfig, LossConfig, ModelConfig, OptimiserConfig
from train.history import HISTORY_NAME, Learnt, LearntFrom, read_history
from train.model import RegionTextModel
from train.optimiser import make_optimiser

ANSWERS = ("red", "two", "a ring", "left")
QUESTIONS = ["a red star moves left", "ring", "blue squares"]
CLIPS = torch.tensor([1, 0, 1])
HISTORY = (
    Learnt(
        objective="answering", sources=(LearntFrom(dataset="made-up", manifest_sha256="0", splits=("train", "val")),),
        frames=2, regions=4, steps=1000, batch_size=64,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def model(model_config: ModelConfig) -> AnsweringModel:
    torch.manual_seed(0)
    base = RegionTextModel.create(model_config, LossConfig(learn_temperature=True))
    return AnsweringModel.create(base, ANSWERS, AnsweringConfig(answers=Path("unread"), hidden=24, dropout=0.25)).eval()


@pytest.fixture(scope="module")
def video(make_regions: Callable[..., Regions]) -> RegionBatch:
    return collate_regions([make_regions(np.random.default_rng(i), (4, 0, 2)) for i in range(2)], 3, 4, 7)


@pytest.fixture
def folder(model: AnsweringModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model", {"data": "made up"}, HISTORY)
    return tmp_path / "model"


def test_it_answers_in_one_go_and_in_two(model: AnsweringModel, video: RegionBatch) -> None:
    text = model.tokenizer(QUESTIONS)
    with torch.no_grad():
        regions, mask = model.encode_video(video)
        assert regions.shape == (2, 12, model.config.joint_dim) and regions.dtype == torch.float32
        assert torch.equal(mask, video.mask_BFR.flatten(1))
        torch.testing.assert_close(
            torch.nn.functional.normalize(regions, dim=-1)[mask],
            model.base.encode_video(video).regions_BNE[mask],
            msg="they are the vectors of retrieval, before they are normalised",
        )
        logits = model.answer(regions, mask, text, CLIPS)
        assert logits.shape == (3, len(ANSWERS)) and torch.equal(logits, model(video, text, CLIPS))


def test_a_folder_is_read_back_whole_and_as_a_model_that_embeds(
    model: AnsweringModel, video: RegionBatch, folder: Path
) -> None:
    again = AnsweringModel.from_pretrained(folder)
    assert is_answering(folder) and again.answers == ANSWERS and not again.training
    assert (again.hidden, again.dropout, again.head.dropout.p) == (24, 0.25, 0.25)
    text = model.tokenizer(QUESTIONS)
    with torch.no_grad():
        assert torch.equal(again(video, text, CLIPS), model(video, text, CLIPS))
    base = RegionTextModel.from_pretrained(folder)
    assert torch.equal(base.encode_video(video).cls_BE, model.base.encode_video(video).cls_BE)
    assert read_history(folder) == HISTORY
    card = (folder / "README.md").read_text()
    assert "4 answers" in card and "answering, on made-up (train and val): 1,000 steps of 64 clips" in card
    assert "question-answering" in card


def test_a_model_that_only_embeds_says_how_to_tune_one(model: AnsweringModel, tmp_path: Path) -> None:
    model.base.save_pretrained(tmp_path)
    assert not is_answering(tmp_path) and not (tmp_path / HISTORY_NAME).exists()
    with pytest.raises(InputError, match=r"answers no questions .*python -m train run .*finetune-msrvtt-qa"):
        AnsweringModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="no model folder"):
        AnsweringModel.from_pretrained(tmp_path / "absent")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": ["red", "two"]}, "weights of another architecture than answers.json says"),
        ({"hidden": 10**9}, "weights of another architecture than answers.json says"),
        ({"answers": ["red", "two", "red", "left"]}, "twice"),
        ({"answers": []}, "answers"),
        ({"dropout": 1.5}, "dropout"),
        ({"format_version": 9}, "format version 9"),
    ],
)
def test_a_head_of_other_sizes_is_refused_before_it_takes_memory(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    path = folder / ANSWERS_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError) as caught:
        AnsweringModel.from_pretrained(folder)
    assert said in caught.value.message and "\n" not in caught.value.message


def test_a_head_that_is_cut_or_gone_is_one_line(folder: Path) -> None:
    path = folder / HEAD_NAME
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a safetensors file"):
        AnsweringModel.from_pretrained(folder)
    path.unlink()
    with pytest.raises(InputError, match="no such file; the model folder is not whole"):
        AnsweringModel.from_pretrained(folder)


def test_lengths_of_rows_are_not_decayed_and_directions_are(model: AnsweringModel) -> None:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert "base.log_temperature" not in named, "nothing depends on it"
    groups = make_optimiser(model, OptimiserConfig()).param_groups
    decayed, plain = ({id(parameter) for parameter in group["params"]} for group in groups)
    head = {name: p for name, p in named.items() if name.startswith("head.")}
    assert {name.rpartition(".")[2] for name, p in head.items() if id(p) in plain} == {"bias", "original0"}
    assert {name.rpartition(".")[2] for name, p in head.items() if id(p) in decayed} == {"original1"}
