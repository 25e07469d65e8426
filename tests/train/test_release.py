"""Released checkpoints: every tensor accounted for, and the same numbers as the release's own forward pass."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor
from transformers import DistilBertConfig

from tests.train import release_reference as reference
from tests.train.release_checkpoint import BASE, Sizes, released_shapes, released_state, write_released
from train.__main__ import main
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, StartConfig
from train.importing.release_layout import plan_import
from train.losses import ContrastiveLoss
from train.model import PairEmbedding, RegionTextModel, TextEmbedding, VideoEmbedding
from train.objective.release_form import release_loss
from train.release import import_release
from train.start import start_from

SIZES = Sizes()
SENTENCES = ["a red star moves left", "", "blue rings", "a violet star", " ".join(["cross"] * 130)]


@pytest.fixture(scope="module")
def state() -> OrderedDict[str, Tensor]:
    return released_state(SIZES)


@pytest.fixture(scope="module")
def folder(state: OrderedDict[str, Tensor], text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imported model, through the command line."""
    place = tmp_path_factory.mktemp("release")
    write_released(place / "released.pth", state)
    arguments = ["import-release", str(place / "released.pth"), "--out", str(place / "model")]
    result = CliRunner().invoke(main, [*arguments, "--tokenizer", str(text_folder)])
    assert result.exit_code == 0, result.output
    assert "left over: 0" in result.output and "beside the weights, not read: arch, epoch, optimizer" in result.output
    return place / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> RegionTextModel:
    return RegionTextModel.from_pretrained(folder)


def clips(frames: int, count: int = 4, dtype: torch.dtype = torch.float32) -> RegionBatch:
    """Random clips: full frames, padded ones, a frame without regions, and a clip without any."""
    generator = torch.Generator().manual_seed(frames)
    shape = (count, frames, SIZES.regions)
    held = torch.randint(1, SIZES.regions + 1, (count, frames), generator=generator)
    held[0], held[1, -1], held[-1] = SIZES.regions, 0, 0
    mask = torch.arange(SIZES.regions) < held[..., None]
    features = torch.randn(*shape, SIZES.feature_dim, generator=generator).half() * mask[..., None]
    boxes = torch.rand(*shape, 6, generator=generator) * mask[..., None]
    return RegionBatch(features.to(dtype), boxes.to(dtype), mask)


def text_config() -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=SIZES.vocabulary, dim=SIZES.text_width, hidden_dim=SIZES.text_hidden, n_layers=SIZES.text_depth,
        n_heads=1, max_position_embeddings=SIZES.positions,
    )  # fmt: skip


def doubled(state: OrderedDict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """In float64, the temporal table with zeros behind it for more frames."""
    found = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    table = torch.zeros(1, max(frames, SIZES.frames), SIZES.width, dtype=torch.float64)
    table[:, : SIZES.frames] = found["object_model.temporal_embed"]
    return found | {"object_model.temporal_embed": table}


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_videos_are_those_of_the_released_forward_pass(
    frames: int, state: OrderedDict[str, Tensor], text_folder: Path, tmp_path: Path
) -> None:
    table = doubled(state, frames)["object_model.temporal_embed"].float()
    write_released(tmp_path / "released.pth", state | {"object_model.temporal_embed": table})
    import_release(tmp_path / "released.pth", tmp_path / "model", str(text_folder))
    model = RegionTextModel.from_pretrained(tmp_path / "model")
    batch = clips(frames)
    with torch.no_grad():
        found = model.encode_video(batch)
        wanted = reference.encode_video(
            doubled(state, frames), batch.features_BFRV.double(), batch.boxes_BFRK.double(), batch.mask_BFR
        )
        vectors = torch.cat([found.cls_BE[:, None], found.regions_BNE], dim=1)
        torch.testing.assert_close(vectors, reference.unit(wanted).float(), rtol=0, atol=1e-5)
        exact = model.double().video_encoder(clips(frames, dtype=torch.float64))
    torch.testing.assert_close(exact, wanted, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.mask_BN, batch.mask_BFR.flatten(1))


def test_sentences_are_those_of_the_released_forward_pass(
    model: RegionTextModel, state: OrderedDict[str, Tensor]
) -> None:
    batch = model.tokenizer(SENTENCES)
    assert batch.input_ids_CL.shape == (5, 100)
    assert batch.attention_mask_CL.sum(1).tolist() == [7, 2, 5, 5, 100]
    wanted = reference.encode_text(doubled(state, 1), text_config(), batch.input_ids_CL, batch.attention_mask_CL)
    with torch.no_grad():
        found = model.encode_text(batch)
        vectors = torch.cat([found.cls_CE[:, None], found.words_CLE], dim=1)
        torch.testing.assert_close(vectors, reference.unit(wanted).float(), rtol=0, atol=1e-5)
        exact = model.text_encoder.double()(batch)
        model.text_encoder.float()
    real = batch.attention_mask_CL
    torch.testing.assert_close(exact[real], wanted[real], rtol=1e-9, atol=1e-9)
    assert torch.equal(found.mask_CL, batch.attention_mask_CL[:, 1:])


@pytest.mark.parametrize("focal", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
def test_similarities_and_losses_are_those_of_the_release(
    frames: int, focal: bool, model: RegionTextModel, state: OrderedDict[str, Tensor]
) -> None:
    """From the stored regions and the words' ids to the two losses, by our path in float32 and theirs in float64."""
    batch, tokens = clips(frames, len(SENTENCES)), model.tokenizer(SENTENCES)
    weights = doubled(state, frames)
    video_mask, word_mask = batch.mask_BFR.flatten(1), tokens.attention_mask_CL[:, 1:]
    with torch.no_grad():
        pairs = model(batch, tokens)
        regions = reference.unit(
            reference.encode_video(weights, batch.features_BFRV.double(), batch.boxes_BFRK.double(), batch.mask_BFR)
        )
        words = reference.unit(
            reference.encode_text(weights, text_config(), tokens.input_ids_CL, tokens.attention_mask_CL)
        )
    # In a clip without regions one padding is like the other: none is above their mean, and theirs is 0 / 0.
    rows = video_mask.any(1).nonzero()[:, 0] if focal else torch.arange(len(SENTENCES))
    assert len(rows) >= 3
    local = reference.local_similarity(regions[:, 1:], video_mask, words[:, 1:], word_mask, focal)[rows][:, rows]
    whole = (regions[:, 0] @ words[:, 0].T)[rows][:, rows]
    assert local.std() > 0.01  # such agreement would say nothing of similarities that are all alike

    config = model.loss.model_copy(update={"focal": focal})
    assert all(torch.isfinite(value).all() for value in vars(ContrastiveLoss(config)(pairs)).values())
    parts = ContrastiveLoss(config)(chosen(pairs, rows))
    torch.testing.assert_close(parts.similarity_BB, (whole + local).float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(parts.global_, reference.global_loss(whole).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts.local, reference.local_loss(local).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(release_loss(local), reference.local_loss(local), rtol=1e-9, atol=1e-9)


def chosen(pairs: PairEmbedding, rows: Tensor) -> PairEmbedding:
    video, text = pairs.video, pairs.text
    return PairEmbedding(
        VideoEmbedding(video.cls_BE[rows], video.regions_BNE[rows], video.mask_BN[rows]),
        TextEmbedding(text.cls_CE[rows], text.words_CLE[rows], text.mask_CL[rows]),
        pairs.temperature,
    )


def test_an_imported_model_learns_on(folder: Path) -> None:
    """Fine-tuning as a run's ``start``: other frames, the release's loss, gradients into every weight that counts."""
    described = RegionTextModel.from_pretrained(folder).config
    torch.manual_seed(0)
    model = start_from(StartConfig(model=folder), described.model_copy(update={"frames": 8}), LossConfig())
    batch, tokens = clips(8, 3), model.tokenizer(SENTENCES[:3])
    learner = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = ContrastiveLoss(model.loss)(model(batch, tokens)).total
        learner.zero_grad()
        loss.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        learner.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.5 * losses[0]


def test_an_imported_model_says_what_it_is(folder: Path, model: RegionTextModel) -> None:
    config, loss = model.config, model.loss
    assert (config.width, config.depth, config.heads, config.mlp_ratio) == (128, 2, 2, 4)
    assert (config.feature_dim, config.box_dim, config.joint_dim) == (12, 6, 16)
    assert (config.frames, config.regions, config.max_words) == (4, 5, 98)
    assert (loss.local_form, loss.focal, loss.sharpness, loss.temperature) == ("release", True, 20, 0.05)
    assert "released.pth" in (folder / "README.md").read_text(encoding="utf-8")
    account = json.loads((folder / "import.json").read_text())
    theirs = {name for names in account["mapped"].values() for name in names} | account["unused"].keys()
    assert theirs == released_shapes(SIZES).keys() and account["left_over"] == []
    assert account["mapped"].keys() == model.state_dict().keys()
    unread = {name for name in account["unused"] if not name.endswith("custom_pos_embed")}
    assert unread == {
        *(f"object_model.blocks.{i}.norm3.{part}" for i in range(2) for part in ("weight", "bias")),
        "object_model.norm.weight", "object_model.norm.bias", "text_model.embeddings.position_ids",
    }  # fmt: skip
    assert account["not_read"] == ["arch", "epoch", "optimizer", "monitor_best", "config"]


@pytest.mark.parametrize("kind", ["plain", "prefixed", "legacy", "safetensors"])
def test_other_wrappings_of_the_same_weights_give_the_same_model(
    kind: str, folder: Path, state: OrderedDict[str, Tensor], text_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(dict(state), path)
    elif kind == "legacy":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({f"module.{name}" if kind == "prefixed" else name: t for name, t in state.items()}, path)
    import_release(path, tmp_path / "model", str(text_folder))
    assert (tmp_path / "model/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_the_published_sizes_are_mapped_whole() -> None:
    plan = plan_import(released_shapes(BASE), "base.pth")
    config = plan.model
    assert (config.width, config.depth, config.heads, config.joint_dim) == (768, 12, 12, 256)
    assert (config.feature_dim, config.box_dim, config.frames, config.regions) == (2048, 6, 1, 30)
    assert (plan.text.vocab_size, plan.text.dim, plan.text.n_layers, plan.text.n_heads) == (30522, 768, 6, 12)
    read = {name for names in plan.sources.values() for name in names}
    assert read | plan.unused.keys() == released_shapes(BASE).keys()
    assert len(plan.unused) == 12 * 2 + 2 + 1 + 1


@pytest.mark.parametrize(("frames", "temporal"), [(2, "zeros"), (6, "zeros"), (7, "interpolate")])
def test_another_number_of_frames_fits_the_temporal_table(
    frames: int, temporal: str, state: OrderedDict[str, Tensor], text_folder: Path, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "released.pth")
    arguments = ["import-release", str(tmp_path / "released.pth"), "--out", str(tmp_path / "model")]
    options = ["--tokenizer", str(text_folder), "--frames", str(frames), "--temporal", temporal]
    result = CliRunner().invoke(main, [*arguments, *options])
    assert result.exit_code == 0 and f"made for {frames} frames" in result.output, result.output
    model = RegionTextModel.from_pretrained(tmp_path / "model")
    given, table = state["object_model.temporal_embed"], model.video_encoder.temporal_embed.detach()
    assert model.config.frames == frames == table.shape[1]
    if temporal == "interpolate":
        torch.testing.assert_close(table[:, ::2], given)
        torch.testing.assert_close(table[:, 1::2], (given[:, 1:] + given[:, :-1]) / 2)
    else:
        kept = min(frames, SIZES.frames)
        assert torch.equal(table[:, :kept], given[:, :kept]) and not table[:, kept:].any()


def test_the_packaged_tokenizer_serves_the_published_vocabulary(tmp_path: Path) -> None:
    sizes = Sizes(width=64, depth=1, frames=1, vocabulary=BASE.vocabulary, text_depth=1)
    write_released(tmp_path / "released.pth", released_state(sizes))
    import_release(tmp_path / "released.pth", tmp_path / "model", "minilm")
    model = RegionTextModel.from_pretrained(tmp_path / "model")
    batch = model.tokenizer(["a dog runs"])
    assert batch.input_ids_CL[0, :6].tolist() == [101, 1037, 3899, 3216, 102, 0]
    assert isinstance(batch, TextBatch) and batch.input_ids_CL.shape == (1, 100)
