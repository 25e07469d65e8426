"""The doctor on fine-tuning and evaluation of tasks: starts, steps that are left out, questions, sizes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_specs.configuration import build
from data_specs.manifest import Item
from pipelines.doctor import weights
from tests.pipelines.pages import Page
from train.config import LossConfig, ModelConfig
from train.model import RegionTextModel

Doctor = Callable[..., Page]
TINY = {"preset": "tiny", "feature_dim": 512, "frames": 2, "width": 16, "depth": 1, "joint_dim": 8}
SIZES = tuple(f"tune.model.{key}={value}" for key, value in TINY.items())
ALIKE = tuple(assignment.replace("tune.", "answer.") for assignment in SIZES)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model to start from."""
    folder = tmp_path_factory.mktemp("start") / "model"
    RegionTextModel.create(build(ModelConfig, TINY, "test"), LossConfig()).save_pretrained(folder)
    return folder


@pytest.fixture
def finetune(doctor: Doctor, ten_videos: Path, tmp_path: Path, write_detector, start: Path) -> Doctor:
    """``finetune("key=value", ...)``: what the doctor says of ``finetune-msrvtt`` on the ten videos."""

    def run(*given: str) -> Page:
        places = (f"root={ten_videos}", f"out={tmp_path}/tune", f"shards={tmp_path}/shards", f"start={start}")
        fixed = (*places, f"detector={write_detector()}", "stored_frames=2", "frames=2", *SIZES, *ALIKE)
        return doctor("finetune-msrvtt", *fixed, *given)

    return run


def steps(page: Page) -> list[str]:
    return [finding["found"] for finding in page.of("steps", "ok")]


def test_nothing_fails_before_a_fine_tuning(finetune: Doctor, start: Path, tmp_path: Path) -> None:
    page = finetune()
    assert page.failures() == [] and page.exit_code == 0
    assert steps(page) == []
    assert [f["found"] for f in page.of("start", "ok")] == [
        f"{start}: whole, and of the architecture of step {step!r}" for step in ("tune", "answer")
    ]
    assert "step 'tune': 200 steps" in page.of("hours")[-2]["found"]  # 10 epochs of 20 captions of 6 clips at a time
    assert "step 'answer': 240 steps" in page.of("hours")[-1]["found"]
    assert not (tmp_path / "tune").exists() and not (tmp_path / "shards").exists()


def test_a_start_that_is_not_there_or_is_another(finetune: Doctor, tmp_path: Path) -> None:
    said = dict(finetune(f"start={tmp_path}/nowhere", "questions=false").failures())
    assert list(said) == ["start"] and "nowhere/config.json: no such file" in said["start"]
    page = finetune("tune.model.box_dim=6", "tune.model.width=32", "questions=false")
    said = page.fails_only_in("start")
    assert "(set model.width=16)" in said and "(set model.box_dim=7)" in said and "--set tune.model.KEY" in said
    page = finetune("start=scratch", "questions=false")
    assert page.failures() == [] and not page.of("start") and "minilm" in page.of("text encoder", "ok")[0]["found"]


def test_steps_that_are_left_out_are_named(finetune: Doctor, ten_copied: Path) -> None:
    assert steps(finetune("questions=false")) == [
        "step 'answers' is left out: questions is false", "step 'answer' is left out: questions is false",
    ]  # fmt: skip
    (ten_copied / "msrvtt_qa" / "msrvtt_qa_train.jsonl").unlink()
    page = finetune(f"root={ten_copied}")
    assert page.exit_code == 0 and len(steps(page)) == 2
    assert all("has no open-ended question of split train" in line for line in steps(page))
    assert not any("answer" in f["found"] for f in page.of("hours"))


def test_a_split_to_look_at_that_is_not_there(finetune: Doctor) -> None:
    page = finetune("validate=true", "questions=false")
    (said,) = [f["found"] for f in page.of("shards", "warning") if "held-out" in f["found"]]
    assert page.failures() == [] and "will not look at held-out clips" in said and "split 'val' has no rows" in said
    said = finetune("validate=true", "questions=false", "tune.validation.optional=false").fails_only_in("shards")
    assert "split 'val' has no rows" in said and said.endswith("--set tune.validation=null")


def test_shards_that_are_taken_as_they_are(finetune: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    clips = [Item(f"video{n}", f"{n}.mp4", "train", captions=("a red ring moves",)) for n in range(4)]
    made = make_shard(tmp_path / "own", clips, frames=1, regions=30, width=512)
    page = finetune("extract=false", f"shards={made}", "questions=false", "validate=true")
    assert page.failures() == []
    said = [finding["found"] for finding in page.of("shards", "warning")]
    assert any("has no shard of split val" in line for line in said)
    assert any("1 frames, step 'tune' wants 2" in line for line in said)
    assert not page.of("detector weights")


@pytest.fixture
def evaluation(doctor: Doctor, ten_videos: Path, tmp_path: Path, write_detector, start: Path) -> Doctor:
    """``evaluation("key=value", ...)``: what the doctor says of ``eval-msrvtt`` on the ten videos."""

    def run(*given: str) -> Page:
        places = (f"root={ten_videos}", f"out={tmp_path}/eval", f"shards={tmp_path}/shards", f"model={start}")
        return doctor("eval-msrvtt", *places, f"detector={write_detector()}", "stored_frames=2", *given)

    return run


def test_an_evaluation_without_a_model_that_answers(evaluation: Doctor, start: Path, tmp_path: Path) -> None:
    page = evaluation(f"answer_model={tmp_path}/nowhere")
    assert page.exit_code == 0
    assert f"step 'question-answering' is left out: {tmp_path}/nowhere is not there" in steps(page)
    assert len(page.of("model", "ok")) == 1  # one model for retrieval and for multiple choice
    said = evaluation(f"answer_model={start}").fails_only_in("model")
    assert "has no answers.json and no answers.safetensors" in said and "--set answer_model=FOLDER" in said
    said = evaluation(f"answer_model={tmp_path}/nowhere", "questions=true").fails_only_in("model")
    assert "nowhere has no config.json" in said


def test_an_evaluation_of_more_than_there_is(evaluation: Doctor, start: Path, tmp_path: Path) -> None:
    assert evaluation("frames=2", "regions=30", "questions=false").exit_code == 0
    said = evaluation("frames=3", "choices=false", "questions=false").fails_only_in("model")
    assert "wants 3 frames, the model was made for 2" in said
    wide = tmp_path / "wide"
    shutil.copytree(start, wide)
    tree = json.loads((wide / "config.json").read_text())
    tree["model"]["frames"] = 8
    (wide / "config.json").write_text(json.dumps(tree))
    said = evaluation("frames=3", "choices=false", "questions=false", f"model={wide}").fails_only_in("model")
    assert "wants 3 frames, the shards hold 2" in said


def test_what_another_protocol_chooses_from_is_looked_at(evaluation: Doctor) -> None:
    page = evaluation("choices_protocol=mc", "questions=false")
    assert page.exit_code == 0 and steps(page) == ["step 'question-answering' is left out: questions is false"]
    assert [f["found"].split(":")[0] for f in page.of("annotations")] == ["msrvtt/1k-A", "msrvtt/mc"]
    assert len(page.of("media", "ok")) == 1 and "4 rows" in page.of("media", "ok")[0]["found"]
    assert len(page.of("disk")) == 1


def test_the_answers_of_a_model_are_known(tmp_path: Path) -> None:
    from train.answering import ANSWERS_NAME, HEAD_NAME

    assert weights.ANSWER_FILES == (ANSWERS_NAME, HEAD_NAME)
