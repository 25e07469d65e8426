"""A finished model as the start of a run: other frames, another loss, and architectures that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from transformers import BertConfig

from data_specs.errors import InputError
from data_specs.regions import Regions
from tests.train.release_checkpoint import Sizes, released_state
from train.__main__ import main
from train.batch import RegionBatch, collate_regions
from train.config import LossConfig, ModelConfig, StartConfig
from train.model import RegionTextModel
from train.start import TEMPORAL, fit_temporal, start_from, starting_loss, tell_frames_apart

SENTENCES = ["a red star moves left", "blue rings"]


def folder_of(config: ModelConfig, loss: LossConfig, folder: Path) -> Path:
    """A model with a temporal table that is not zero, saved."""
    torch.manual_seed(1)
    model = RegionTextModel.create(config, loss)
    torch.nn.init.normal_(model.video_encoder.temporal_embed)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(model_config: ModelConfig, tmp_path: Path) -> Callable[..., Path]:
    """``saved(frames, **loss)``: the folder of a model made for so many frames."""

    def make(frames: int, **loss: Any) -> Path:
        config = model_config.model_copy(update={"frames": frames})
        return folder_of(config, LossConfig(**loss), tmp_path / f"model-{frames}")

    return make


@pytest.fixture(scope="session")
def batch(make_regions: Callable[..., Regions]) -> Callable[[int], RegionBatch]:
    clips = [make_regions(np.random.default_rng(i), (4, 3, 4, 2, 4, 4, 1, 4)) for i in range(2)]
    return lambda frames: collate_regions(clips, frames, 4, 7)


@pytest.mark.parametrize("how", ["zeros", "interpolate"])
def test_a_model_of_one_frame_gives_the_same_on_it_when_made_for_eight(
    how: str, saved: Callable[..., Path], model_config: ModelConfig, batch: Callable[[int], RegionBatch]
) -> None:
    folder = saved(1)
    before = RegionTextModel.from_pretrained(folder)
    config = model_config.model_copy(update={"frames": 8, "regions": 9, "max_words": 5})
    started = start_from(StartConfig(model=folder, temporal=how), config, LossConfig())
    assert started.training and started.config == config
    started.eval()
    torch.testing.assert_close(started.encode_video(batch(1)).cls_BE, before.encode_video(batch(1)).cls_BE)
    tokens = before.tokenizer(SENTENCES)
    assert torch.equal(started.encode_text(tokens).words_CLE, before.encode_text(tokens).words_CLE)
    assert started.encode_video(batch(8)).mask_BN.shape == (2, 32)
    table = started.state_dict()[TEMPORAL]
    first = before.state_dict()[TEMPORAL]
    rest = first.expand(1, 7, -1) if how == "interpolate" else torch.zeros_like(table[:, 1:])
    assert torch.equal(table, torch.cat([first, rest], dim=1))


def test_fewer_frames_take_the_first_rows(saved: Callable[..., Path], model_config: ModelConfig) -> None:
    folder = saved(8)
    started = start_from(StartConfig(model=folder), model_config.model_copy(update={"frames": 3}), LossConfig())
    before = RegionTextModel.from_pretrained(folder)
    assert torch.equal(started.state_dict()[TEMPORAL], before.state_dict()[TEMPORAL][:, :3])
    others = {name: tensor for name, tensor in started.state_dict().items() if name != TEMPORAL}
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in others.items())
    assert len(others) == len(before.state_dict()) - 1


@pytest.mark.parametrize(("given", "asked"), [(1, 4), (2, 5), (4, 8), (4, 5), (8, 8)])
def test_interpolation_is_linear_with_the_ends_kept(given: int, asked: int) -> None:
    table = torch.randn(1, given, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = fit_temporal(table, asked, "interpolate")
    for j in range(asked):
        place = j * (given - 1) / (asked - 1)
        low = min(int(place), given - 1)
        high, share = min(low + 1, given - 1), place - low
        torch.testing.assert_close(found[0, j], (1 - share) * table[0, low] + share * table[0, high])


def test_another_architecture_is_refused_with_each_key(saved: Callable[..., Path], model_config: ModelConfig) -> None:
    folder = saved(2)
    other = model_config.model_copy(update={"width": 64, "depth": 3, "box_dim": 6, "joint_dim": 8, "feature_dim": 99})
    with pytest.raises(InputError) as caught:
        start_from(StartConfig(model=folder), other, LossConfig())
    for key in ("width=32", "depth=2", "box_dim=7", "joint_dim=16", "feature_dim=12"):
        assert f"set model.{key})" in caught.value.message
    assert "heads" not in caught.value.message and "\n" not in caught.value.message
    with pytest.raises(InputError, match=r"model\.max_words.*at most 62"):
        start_from(StartConfig(model=folder), model_config.model_copy(update={"max_words": 63}), LossConfig())
    with pytest.raises(InputError, match="no such file"):
        start_from(StartConfig(model=folder / "absent"), model_config, LossConfig())


def test_another_text_encoder_is_refused_unless_its_sizes_agree(
    saved: Callable[..., Path], model_config: ModelConfig, tmp_path: Path
) -> None:
    start = StartConfig(model=saved(2))
    named = [
        ("minilm", "of other sizes"),
        ("distilbert-base-uncased", "cannot be read to compare"),
        (str(tmp_path / "absent"), "cannot be read to compare"),
    ]
    for name, why in named:
        with pytest.raises(InputError, match=why) as caught:
            start_from(start, model_config.model_copy(update={"text_encoder": name}), LossConfig())
        assert f"set model.text_encoder={model_config.text_encoder}" in caught.value.message
    same = tmp_path / "same"
    BertConfig.from_pretrained(model_config.text_encoder).save_pretrained(same)
    started = start_from(start, model_config.model_copy(update={"text_encoder": str(same)}), LossConfig())
    assert started.config.text_encoder == model_config.text_encoder


def test_the_release_form_stays_unless_said(saved: Callable[..., Path], model_config: ModelConfig) -> None:
    start = StartConfig(model=saved(2, local_form="release", sharpness=20, focal=False))
    kept = start_from(start, model_config, LossConfig(local_weight=0.5)).loss
    assert kept == starting_loss(start, LossConfig(local_weight=0.5))
    assert (kept.local_form, kept.sharpness, kept.focal, kept.local_weight) == ("release", 20, False, 0.5)
    assert starting_loss(start, LossConfig(sharpness=5)).sharpness == 5
    said = LossConfig(local_form="slides")
    assert start_from(start, model_config, said).loss == said
    resolved = LossConfig.model_validate(kept.model_dump())
    assert starting_loss(start, resolved) == kept


def test_a_slides_model_takes_the_loss_as_given(saved: Callable[..., Path], model_config: ModelConfig) -> None:
    start = StartConfig(model=saved(2, sharpness=7))
    assert start_from(start, model_config, LossConfig()).loss == LossConfig()
    released = start_from(start, model_config, LossConfig(local_form="release"))
    assert released.tokenizer(SENTENCES).input_ids_CL.shape == (2, model_config.max_words + 2)
    assert start_from(start, model_config, LossConfig()).tokenizer(SENTENCES).input_ids_CL.shape == (2, 7)


def test_a_learnt_temperature_goes_on(saved: Callable[..., Path], model_config: ModelConfig) -> None:
    folder = saved(2, learn_temperature=True, temperature=0.2)
    goes_on = start_from(StartConfig(model=folder), model_config, LossConfig(learn_temperature=True))
    assert goes_on.log_temperature.exp().item() == pytest.approx(0.2)
    fixed = start_from(StartConfig(model=folder), model_config, LossConfig())
    assert fixed.log_temperature.exp().item() == pytest.approx(0.05)


def test_a_run_starts_from_an_imported_model(
    make_shards: Callable[..., Path], text_folder: Path, tmp_path: Path
) -> None:
    """Through the command line: import, fine-tune on more frames, and the model of the run is in the release's form."""
    torch.save(released_state(Sizes(width=64, depth=1, frames=1, regions=4, text_depth=1)), tmp_path / "released.pth")
    shards, run = make_shards(tmp_path / "shards", (4, 3)), tmp_path / "run"
    call = CliRunner().invoke
    source = ["import-release", str(tmp_path / "released.pth"), "--tokenizer", str(text_folder)]
    assert call(main, [*source, "--out", str(tmp_path / "model")]).exit_code == 0
    tree = {
        "out": str(run), "start": {"model": str(tmp_path / "model")},
        "model": {"preset": "base", "feature_dim": 12, "box_dim": 6, "frames": 3, "regions": 4, "width": 64, "depth": 1,
                  "heads": 1, "joint_dim": 16},
        "data": {"shards": [str(shards)], "batch_size": 3, "frames": 3, "regions": 4},
        "max_steps": 2, "threads": 1, "device": "cpu",
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    result = call(main, ["run", str(tmp_path / "config.yaml")])
    assert result.exit_code == 0, result.output
    tuned = RegionTextModel.from_pretrained(run / "model")
    assert (tuned.loss.local_form, tuned.loss.sharpness, tuned.config.frames) == ("release", 20, 3)
    before = RegionTextModel.from_pretrained(tmp_path / "model").state_dict()
    after = tuned.state_dict()
    assert before.keys() == after.keys() and not torch.equal(after[TEMPORAL][:, 0], before[TEMPORAL][:, 0])
    wrong = call(
        main, ["run", str(tmp_path / "config.yaml"), "--set", f"out={tmp_path / 'b'}", "--set", "model.depth=2"]
    )
    assert wrong.exit_code == 2 and "set model.depth=1" in wrong.output
    assert len(wrong.output.strip().splitlines()) == 1


def test_frames_that_nobody_trained_are_told_apart(model_config: ModelConfig) -> None:
    """Rows that are zero, of as many frames as are trained, are drawn; what was learnt, and the rest, stay."""
    model = RegionTextModel.create(model_config.model_copy(update={"frames": 8, "temporal_std": 1.0}), LossConfig())
    table_FD = model.video_encoder.temporal_embed[0]
    tell_frames_apart(model, 1)
    assert not table_FD.any()
    with torch.no_grad():
        table_FD[0] = 0.25
    tell_frames_apart(model, 4)
    assert (table_FD[0] == 0.25).all() and not table_FD[4:].any()
    assert (table_FD[1:4].std(1) > 0.5).all() and not torch.equal(table_FD[1], table_FD[2])
    published = RegionTextModel.create(model_config.model_copy(update={"frames": 8}), LossConfig())
    tell_frames_apart(published, 8)
    assert not published.video_encoder.temporal_embed.any()
