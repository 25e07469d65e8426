"""The doctor on training and evaluation: shards, text encoder, run folder, model and what they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from data_specs.configuration import build, dump
from data_specs.manifest import Item
from extract.presets import PRESETS
from pipelines.doctor.case import Training
from pipelines.doctor.disk import count_parameters
from tests.pipelines.pages import Page
from train.config import DataConfig, TrainConfig

Doctor = Callable[..., Page]
CLIPS = [Item(f"video{n}", f"{n}.mp4", "train", captions=("a red ring moves",)) for n in range(4)]
TINY = ("preset=tiny", "feature_dim=4", "pretrain.data.regions=3")


@pytest.fixture
def pretrain(doctor: Doctor, tmp_path: Path) -> Doctor:
    """``pretrain(shards, "key=value", ...)``: what the doctor says of the pipeline ``pretrain`` with a tiny model."""

    def run(shards: Path, *given: str) -> Page:
        return doctor("pretrain", f"shards=[{shards}]", *TINY, "batch_size=4", f"out={tmp_path}/runs", *given)

    return run


def test_nothing_fails_with_enough_shards(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    page = pretrain(make_shard(tmp_path / "shards", CLIPS), "epochs=7")
    assert page.failures() == []
    assert page.exit_code == 0
    assert "4 samples in 1 shards of one provenance" in page.of("shards")[0]["found"]
    assert "7 steps; seconds a step are not predicted here" in page.of("hours")[0]["found"]
    assert "minilm" in page.of("text encoder", "ok")[0]["found"]
    assert not (tmp_path / "runs").exists()


def test_no_shards(pretrain: Doctor, tmp_path: Path) -> None:
    said = pretrain(tmp_path / "shards").fails_only_in("shards")
    assert "no index" in said
    assert "make extract makes it" in said


def test_shards_without_index(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    said = pretrain(make_shard(tmp_path / "shards", CLIPS, index=False)).fails_only_in("shards")
    assert f"{tmp_path}/shards/index.json: no index" in said


def test_a_cut_shard(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    tar = make_shard(tmp_path / "shards", CLIPS) / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    said = pretrain(tmp_path / "shards").fails_only_in("shards")
    assert "train-00000.tar: cut, changed or not committed" in said
    assert "python -m extract verify" in said


def test_a_batch_larger_than_the_shards(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    shards = make_shard(tmp_path / "shards", CLIPS)
    page = pretrain(shards, "batch_size=5")
    assert page.exit_code == 0
    (found,) = [line["found"] for line in page.of("shards", "warning")]
    assert "4 samples in 1 shards, 5 clips a step over 1 ranks: batches of the smallest folder have its 4" in found
    said = pretrain(shards, "workers=5").fails_only_in("shards")
    assert "4 clips a step over 5 ranks: some would have none" in said and "pretrain.data.batch_size=5" in said
    said = pretrain(shards, "workers=5", "batch_size=5").fails_only_in("shards")
    assert "a folder of 4 is too small for that" in said
    said = pretrain(shards, "epoch_samples=3").fails_only_in("shards")
    assert "an epoch is less than a batch" in said and "pretrain.data.epoch_samples=4" in said


def test_steps_are_counted_as_the_stream_counts_them(
    pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path
) -> None:
    from train.stream import RegionStream

    shards = make_shard(tmp_path / "shards", [Item(f"v{n}", f"{n}.mp4", "train", captions=("a",)) for n in range(23)])
    for given in (("subset=0.5",), ("epoch_samples=13",), ("subset=0.3", "epoch_samples=5"), ()):
        page = pretrain(shards, "epochs=3", *given)
        tree = {"shards": [str(shards)], "batch_size": 4} | dict(part.split("=") for part in given)
        batches = RegionStream(build(DataConfig, tree, "test"), 7).batches_per_epoch
        assert f" {3 * batches} steps" in page.of("hours")[0]["found"]


def test_features_of_another_width(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    page = pretrain(make_shard(tmp_path / "shards", CLIPS, width=6))
    said = page.fails_only_in("shards")
    assert "features 6 wide, the model of step 'pretrain' reads 4" in said
    assert said.endswith("--set pretrain.model.feature_dim=6")


def test_fewer_regions_than_wanted(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    page = pretrain(make_shard(tmp_path / "shards", CLIPS), "pretrain.data.regions=5")
    assert page.exit_code == 0
    assert "3 regions, step 'pretrain' wants 5" in page.of("shards", "warning")[0]["found"]


def test_a_text_encoder_that_is_not_there(
    pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    shards = make_shard(tmp_path / "shards", CLIPS)
    said = pretrain(shards, "pretrain.model.text_encoder=distilbert-base-uncased").fails_only_in("text encoder")
    assert "distilbert-base-uncased: not packaged" in said
    assert "pretrain.model.text_encoder=minilm" in said
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text("{}")
    said = pretrain(shards, f"pretrain.model.text_encoder={tmp_path}/text").failures()[0][1]
    assert "has its model.safetensors or" in said
    assert "config.json," not in said
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / "text" / name).touch()
    said = pretrain(shards, f"pretrain.model.text_encoder={tmp_path}/text").fails_only_in("text encoder")
    assert "describes no text encoder" in said


def test_a_run_of_other_settings(pretrain: Doctor, make_shard: Callable[..., Path], tmp_path: Path) -> None:
    shards = make_shard(tmp_path / "shards", CLIPS)
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    tree = {"out": str(run), "model": {"feature_dim": 4}, "data": {"shards": [str(shards)]}, "seed": 3}
    (run / "config.yaml").write_text(dump(build(TrainConfig, tree, "test")))
    before = (run / "config.yaml").read_bytes()
    assert pretrain(shards).failures() == []  # it never came as far as a checkpoint
    (run / "model").mkdir()
    said = pretrain(shards).fails_only_in("output")
    assert f"{run}/config.yaml: this run was started with other settings" in said
    assert "seed was 3, is 0" in said
    assert (run / "config.yaml").read_bytes() == before
    (run / "config.yaml").unlink()
    (run / "model").rmdir()
    (run / "thesis.txt").touch()
    assert f"{run}: holds files but no run" in pretrain(shards).fails_only_in("output")


def test_an_evaluation_without_model(doctor: Doctor, ten_videos: Path, tmp_path: Path, write_detector) -> None:
    given = (f"root={ten_videos}", f"out={tmp_path}/eval", f"detector={write_detector()}", f"model={tmp_path}/model")
    page = doctor("eval-msrvtt", *given)
    said = page.fails_only_in("model")
    assert "has no config.json and no model.safetensors" in said
    assert "make pretrain" in said
    assert "4 rows" in page.of("media", "ok")[0]["found"]  # the test split alone
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    (tmp_path / "model" / "config.json").write_text('{"model": {"feature_dim": 2048}}')
    assert "--set detector=NAME" in doctor("eval-msrvtt", *given).fails_only_in("model")


def test_smoke_goes_through_with_the_committed_weights(doctor: Doctor, tmp_path: Path) -> None:
    """Its training reads what its extraction will make; only the detector's weights may be still to be made."""
    page = doctor("smoke", f"out={tmp_path}/smoke")
    weights = PRESETS / yaml.safe_load((PRESETS / "shapes.yaml").read_text())["weights"]
    assert [title for title, _ in page.failures()] == ([] if weights.is_file() else ["detector weights"])
    assert "10 samples in 3 shards, 10 clips a step over 1 ranks" in page.of("shards", "ok")[1]["found"]
    assert "step 'train' makes it" in page.of("model", "ok")[0]["found"]
    assert "150 steps" in page.of("hours")[-1]["found"]


def test_a_fresh_pipeline_does_not_remove_what_is_not_its_own(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "thesis.txt").touch()
    said = dict(doctor("smoke", f"out={tmp_path}/smoke").failures())["output"]
    assert "is not a former run of pipeline 'smoke'" in said
    assert (tmp_path / "smoke" / "thesis.txt").exists()


@pytest.mark.parametrize("freeze", [False, True])
def test_parameters_are_those_of_the_model(tmp_path: Path, freeze: bool) -> None:
    from train.model import RegionTextModel

    tree = {"out": str(tmp_path), "model": {"feature_dim": 4}, "data": {"shards": ["x"]}}
    config = build(TrainConfig, {**tree, "optimiser": {"freeze_text": freeze}}, "test")
    model = RegionTextModel.create(config.model, config.loss)
    if freeze:
        model.text_encoder.freeze()
    every = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count_parameters(Training("train", config, False, 0)) == (every, learning)
