"""Both sides together: masks, padding, saving and loading, wrong folders."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.regions import Regions
from train.batch import RegionBatch, collate_regions
from train.config import LossConfig, ModelConfig
from train.model import RegionTextModel
from train.networks.text_encoder import load_backbone

SENTENCES = ["a red star moves left", "", "blue rings", "a violet star"]


@pytest.fixture(scope="module")
def model(model_config: ModelConfig) -> RegionTextModel:
    torch.manual_seed(0)
    return RegionTextModel.create(model_config, LossConfig(sharpness=7)).eval()


def test_words_are_words_only(model: RegionTextModel) -> None:
    batch = model.tokenizer(SENTENCES)
    words = model.tokenizer.words(SENTENCES)
    assert words == [["a", "red", "star", "moves", "left"], [], ["blue", "ring", "##s"], ["a", "[UNK]", "star"]]
    assert batch.input_ids_CL.shape == (4, 7)  # [CLS], five words, [SEP]: the longest of the batch, no more
    mask_CL = model.encode_text(batch).mask_CL
    for row, tokens in zip(mask_CL, words, strict=True):
        assert row.tolist() == [True] * len(tokens) + [False] * (6 - len(tokens))


def test_a_long_sentence_is_cut_at_max_words(model: RegionTextModel) -> None:
    limit = model.config.max_words
    long = " ".join(["star"] * (limit + 5))
    assert model.tokenizer([long]).input_ids_CL.shape == (1, limit + 2)
    assert len(model.tokenizer.words([long])[0]) == limit


def test_embeddings_are_unit_vectors_and_masked_ones_zero(
    model: RegionTextModel, make_regions: Callable[..., Regions]
) -> None:
    text = model.encode_text(model.tokenizer(SENTENCES))
    clips = [make_regions(np.random.default_rng(i), count) for i, count in enumerate([(4, 2, 0), (0, 0, 0)])]
    video = model.encode_video(collate_regions(clips, 3, 6, 7))
    for cls, vectors, mask in (
        (text.cls_CE, text.words_CLE, text.mask_CL),
        (video.cls_BE, video.regions_BNE, video.mask_BN),
    ):
        torch.testing.assert_close(cls.norm(dim=-1), torch.ones(len(cls)))
        torch.testing.assert_close(vectors.norm(dim=-1), mask.float())
    assert video.mask_BN.view(2, 3, 6).sum(-1).tolist() == [[4, 2, 0], [0, 0, 0]]


def test_a_padded_batch_equals_single_ones(model: RegionTextModel, make_regions: Callable[..., Regions]) -> None:
    together = model.encode_text(model.tokenizer(SENTENCES))
    for row, sentence in enumerate(SENTENCES):
        alone = model.encode_text(model.tokenizer([sentence]))
        real = together.mask_CL[row]
        torch.testing.assert_close(alone.cls_CE[0], together.cls_CE[row], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            alone.words_CLE[0][alone.mask_CL[0]], together.words_CLE[row][real], rtol=1e-4, atol=1e-5
        )
    clips = [make_regions(np.random.default_rng(i), (i + 1, i + 1, i + 1)) for i in range(3)]
    padded = model.encode_video(collate_regions(clips, 3, 6, 7))
    for row, clip in enumerate(clips):
        alone = model.encode_video(collate_regions([clip], 3, row + 1, 7))
        torch.testing.assert_close(alone.cls_BE[0], padded.cls_BE[row], rtol=1e-4, atol=1e-5)


def test_save_and_load_give_equal_embeddings(
    model: RegionTextModel, make_regions: Callable[..., Regions], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    loaded = RegionTextModel.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config and loaded.loss == model.loss and not loaded.training
    assert loaded.tokenizer.words(SENTENCES) == model.tokenizer.words(SENTENCES)
    batch = collate_regions([make_regions(np.random.default_rng(0))], 3, 4, 7)
    assert torch.equal(loaded.encode_video(batch).regions_BNE, model.encode_video(batch).regions_BNE)
    tokens = model.tokenizer(SENTENCES)
    assert torch.equal(loaded.encode_text(tokens).words_CLE, model.encode_text(tokens).words_CLE)


def test_a_description_in_half_gives_float32(model: RegionTextModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["text_config"]["dtype"] = "float16"
    (tmp_path / "config.json").write_text(json.dumps(described))
    loaded = RegionTextModel.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    tokens = model.tokenizer(SENTENCES)
    assert torch.equal(loaded.encode_text(tokens).cls_CE, model.encode_text(tokens).cls_CE)


def test_the_packaged_encoder_loads_offline_and_round_trips(tmp_path: Path) -> None:
    config = ModelConfig.model_validate({"preset": "tiny", "feature_dim": 12})
    model = RegionTextModel.create(config).eval()
    tokens = model.tokenizer(["a large red star moves left", "two blue rings"])
    hidden = model.text_encoder.backbone(input_ids=tokens.input_ids_CL).last_hidden_state
    assert hidden.shape == (2, 8, 384)
    model.save_pretrained(tmp_path)
    loaded = RegionTextModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.encode_text(tokens).cls_CE, model.encode_text(tokens).cls_CE)


def test_a_frozen_encoder_has_no_gradient_and_no_dropout(model_config: ModelConfig) -> None:
    model = RegionTextModel.create(model_config)
    model.text_encoder.freeze()
    model.train()
    tokens = model.tokenizer(SENTENCES)
    one, other = model.encode_text(tokens).cls_CE, model.encode_text(tokens).cls_CE
    assert torch.equal(one, other)
    one.sum().backward()
    learning = [name for name, p in model.text_encoder.named_parameters() if p.grad is not None]
    assert learning == ["proj.1.weight", "proj.1.bias"]


def test_a_text_encoder_that_cannot_be_had_says_where_to_put_it() -> None:
    with pytest.raises(InputError, match=r"'distilbert-base-uncased' cannot be loaded.*HF_HUB_OFFLINE=1") as caught:
        load_backbone("distilbert-base-uncased")
    assert "\n" not in caught.value.message and "model.text_encoder=FOLDER" in caught.value.message


def test_a_folder_that_is_no_model_is_refused(model: RegionTextModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/config\.json: no such file.*train run"):
        RegionTextModel.from_pretrained(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="not a regionvlp model"):
        RegionTextModel.from_pretrained(tmp_path)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        RegionTextModel.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        RegionTextModel.from_pretrained(folder)
    model.save_pretrained(folder)
    described = json.loads((folder / "config.json").read_text())
    described["model"]["width"] = 64
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="another architecture"):
        RegionTextModel.from_pretrained(folder)


def test_a_caption_that_spells_control_tokens_means_their_letters(model: RegionTextModel) -> None:
    sentences = ["a red [SEP] star", "[CLS] [PAD] ring", "a red star"]
    text = model.encode_text(model.tokenizer(sentences))
    counted = [len(words) for words in model.tokenizer.words(sentences)]
    assert text.mask_CL.sum(1).tolist() == counted
    assert counted[0] > counted[2]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_config", "hidden_act", "nope"),
        ("text_config", "vocab_size", 10**12),
        ("text_config", "hidden_size", "x"),
        ("model", "width", 4_000_000),
        ("model", "depth", 3),
    ],
)
def test_a_description_that_does_not_fit_the_weights_takes_no_memory(
    model: RegionTextModel, tmp_path: Path, section: str, key: str, value: object
) -> None:
    model.save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described[section][key] = value
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError):
        RegionTextModel.from_pretrained(tmp_path)


def gradients(model: RegionTextModel, batch: RegionBatch, sentences: list[str]) -> dict[str, Tensor]:
    model.zero_grad()
    pairs = model(batch, model.tokenizer(sentences))
    loss = pairs.video.regions_BNE.square()[..., 0].sum() + pairs.text.words_CLE.square()[..., 0].sum()
    (loss + (pairs.video.cls_BE * pairs.text.cls_CE)[..., 0].sum()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("half", [False, True])
def test_nothing_real_gives_no_nan(model_config: ModelConfig, make_regions: Callable[..., Regions], half: bool) -> None:
    torch.manual_seed(0)
    model = RegionTextModel.create(model_config)
    clips = [make_regions(np.random.default_rng(i), count) for i, count in enumerate([(4, 0, 0), (0, 0, 0)])]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = gradients(model, collate_regions(clips, 3, 6, 7), ["", ""])
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert all(gradient.dtype == torch.float32 for gradient in found.values())


def test_a_compiled_model_equals_a_plain_one(
    model_config: ModelConfig, make_regions: Callable[..., Regions], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    plain = RegionTextModel.create(model_config).eval()
    compiled = copy.deepcopy(plain)
    compiled.checkpoint_activations()
    compiled.compile_encoders(backend="aot_eager")
    graphs = []
    for sentences in (SENTENCES, ["a red star", "a ring"] * 3, ["red"] * 5, SENTENCES[:3]):
        clips = [make_regions(np.random.default_rng(i), (i % 4 + 1,) * 3) for i in range(len(sentences))]
        batch = collate_regions(clips, 3, 6, 7)
        expected, found = (gradients(model, batch, sentences) for model in (plain, compiled))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1] == graphs[2] == graphs[3]  # other numbers and lengths compile nothing
    compiled.save_pretrained(tmp_path)
    loaded = RegionTextModel.from_pretrained(tmp_path).state_dict()
    assert loaded.keys() == plain.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in plain.state_dict().items())


def test_the_model_card_says_what_the_model_is(model: RegionTextModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, {"data": "webvid | cc3m\ntrain", "steps": 1000, "precision": "bf16"})
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: regionvlp\n")
    assert "| data | webvid \\| cc3m train |" in card and "| steps | 1000 |" in card
    assert "softmax of `7 × cosine`" in card and "| region-word form | slides |" in card
    assert f"| parameters, video encoder | {sum(p.numel() for p in model.video_encoder.parameters()):,} |" in card
    assert str(model.config.text_encoder) in card
    model.save_pretrained(tmp_path)
    assert "Nothing is known." in (tmp_path / "README.md").read_text()


def test_the_description_is_written_last(
    model: RegionTextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write_bytes = [], atomic.write_bytes
    monkeypatch.setattr(atomic, "write_bytes", lambda path, data: (written.append(path.name), write_bytes(path, data)))
    model.save_pretrained(tmp_path)
    assert written == ["README.md", "model.safetensors", "config.json"]
