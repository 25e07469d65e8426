"""The doors of a task, as a user opens them: MSR-VTT's ten videos fine-tuned and evaluated, and one of them missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_specs.configuration import build
from train.config import LossConfig, ModelConfig
from train.model import RegionTextModel

ROOT = Path(__file__).parents[2]
TINY = {"preset": "tiny", "feature_dim": 512, "frames": 1}
STORED = ("detector=shapes", "stored_frames=2", "stored_regions=10")
TESTED = {"video6", "video7", "video8", "video9"}
LOST = "video8"


def run(folder: Path, name: str, *given: str) -> subprocess.CompletedProcess[str]:
    """``python -m pipelines run``, from a folder of the user's own."""
    sets = [text for assignment in (*STORED, *given) for text in ("--set", assignment)]
    return subprocess.run(
        [sys.executable, "-m", "pipelines", "run", name, *sets],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ten_videos: Path) -> Path:
    """A folder in which ``finetune-msrvtt`` ran, from a model that was made for one frame."""
    folder = tmp_path_factory.mktemp("user")
    RegionTextModel.create(build(ModelConfig, TINY, "test"), LossConfig(sharpness=20)).save_pretrained(folder / "start")
    done = run(
        folder, "finetune-msrvtt", f"root={ten_videos}", "start=start", "temporal=interpolate", "preset=tiny",
        "feature_dim=512", "frames=2", "regions=10", "epochs=1", "max_steps=4", "device=cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "left out" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def evaluated(folder: Path, ten_videos: Path) -> Path:
    """The report of ``eval-msrvtt``, which looks for models and shards where the fine-tuning wrote them."""
    done = run(folder, "eval-msrvtt", f"root={ten_videos}", "device=cpu")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "0 shards made, 1 were there" in done.stdout
    return folder / "runs" / "eval-msrvtt" / "report"


def result(report: Path, task: str) -> dict[str, Any]:
    found = json.loads((report / f"{task}.json").read_bytes())
    assert found["protocol"] == "msrvtt/1k-A" and found["splits"] == ["test"]
    assert found["setting"] == "tuned" and (found["frames"], found["regions"]) == (2, 10)
    return found


def test_fine_tuning_goes_on_from_its_start(folder: Path) -> None:
    runs = folder / "runs" / "finetune-msrvtt"
    for name, texts in (("run", 20), ("answer", 24)):
        lines = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
        config = RegionTextModel.from_pretrained(runs / name / "model").config
        assert (config.frames, config.regions) == (2, 10)
        assert f"rounds: {texts}" in (runs / name / "config.yaml").read_text()
    answers = json.loads((runs / "answer" / "model" / "answers.json").read_text())["answers"]
    assert {"pink", "circle", "above"} < set(answers)


def test_retrieval(evaluated: Path) -> None:
    found = result(evaluated, "retrieval")
    assert (found["videos"], found["videos_planned"], found["missing"]) == (4, 4, 0)
    for direction in ("text_to_video", "video_to_text"):
        assert found[direction]["queries"] == found[direction]["candidates"] == 4
        assert 0 <= found[direction]["figures"]["R@1"] <= 100 == found[direction]["figures"]["R@5"]
        assert 1 <= found[direction]["figures"]["MedR"] <= 4
        assert found[direction]["chance"]["R@1"] == 25
    assert (evaluated / "retrieval.html").stat().st_size > 10_000
    table = pq.read_table(evaluated / "similarity.parquet")
    ids = json.loads(table.schema.metadata[b"regionvlp.retrieval"])["video_ids"]
    assert set(ids) == TESTED
    first = [ids[scores.index(max(scores))] for scores in table["combined"].to_pylist()]
    right = [said == wanted for said, wanted in zip(first, table["video_id"].to_pylist(), strict=True)]
    assert found["text_to_video"]["figures"]["R@1"] == pytest.approx(25 * sum(right))
    assert pq.read_table(evaluated / "ranks.parquet").num_rows == 8


def test_multiple_choice(evaluated: Path) -> None:
    found = result(evaluated, "multiple_choice")
    assert (found["questions"], found["options"], found["chance"]) == (4, {"5": 4}, 20)
    assert found["accuracy"] in (0, 25, 50, 75, 100)
    assert (evaluated / "multiple_choice.html").stat().st_size > 10_000
    assert pq.read_table(evaluated / "choices.parquet").num_rows == 4


def test_question_answering(evaluated: Path) -> None:
    found = result(evaluated, "question_answering")
    assert (found["questions"], found["covered"], found["videos"]) == (78, 78, 4)
    table = pq.read_table(evaluated / "answers.parquet")
    assert set(table["video"].to_pylist()) == TESTED
    right = [said == wanted for said, wanted in zip(table["predicted"], table["answer"], strict=True)]
    assert found["accuracy"] == pytest.approx(100 * sum(right) / 78)
    assert sum(group["questions"] for group in found["by_answer_type"]) == 78
    assert (evaluated / "question_answering.html").stat().st_size > 10_000


def test_a_missing_video_is_refused_or_counted(folder: Path, ten_videos: Path) -> None:
    root = Path(shutil.copytree(ten_videos, folder / "nine"))
    (root / "videos" / "all" / f"{LOST}.mp4").unlink()
    given = (f"root={root}", "shards=shards/nine", "out=runs/nine", "device=cpu")
    refused = run(folder, "eval-msrvtt", *given)
    assert refused.returncode == 1
    report = folder / "runs" / "nine" / "report"
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("Error: ") and "missing" in line]
    assert "1 of 4" in line and "missing.jsonl" in line and "--allow-missing" in line
    assert [json.loads(line)["id"] for line in (report / "retrieval.missing.jsonl").read_text().splitlines()] == [LOST]
    assert not (report / "retrieval.json").exists()
    assert "step 'retrieval' failed with exit code 1" in refused.stderr
    allowed = run(folder, "eval-msrvtt", *given, "allow_missing=true", "extract=false")
    assert allowed.returncode == 0, allowed.stderr + allowed.stdout
    for task in ("retrieval", "multiple_choice", "question_answering"):
        found = result(report, task)
        assert (found["videos"], found["videos_planned"], found["missing"]) == (3, 4, 1)
        assert "3/4" in (report / f"{task}.html").read_text()
    assert "3/4" in allowed.stdout
