"""The text encoder: sentences of like length together, layers computed again, and which encoders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BertTokenizerFast,
    CLIPConfig,
    CLIPModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
)

from data_specs.errors import InputError
from train.batch import TextBatch
from train.config import ModelConfig
from train.model import RegionTextModel
from train.networks import text_encoder
from train.networks.text_encoder import TextEncoder, load_backbone

LONGEST = 9
CLS, SEP, WORDS = 2, 3, (5, 17)


def make_batch(lengths: list[int], padded_to: int = LONGEST + 2) -> TextBatch:
    """Random sentences of so many words."""
    generator = torch.Generator().manual_seed(sum(lengths))
    ids, mask = torch.zeros(len(lengths), padded_to, dtype=torch.int64), torch.zeros(len(lengths), padded_to).bool()
    for row, words in enumerate(lengths):
        ids[row, 0], ids[row, words + 1] = CLS, SEP
        ids[row, 1 : words + 1] = torch.randint(*WORDS, (words,), generator=generator)
        mask[row, : words + 2] = True
    return TextBatch(ids, mask)


@pytest.fixture(scope="module")
def encoder(model_config: ModelConfig) -> TextEncoder:
    backbone, _ = load_backbone(model_config.text_encoder)
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    torch.manual_seed(0)
    return TextEncoder(backbone, model_config.joint_dim)


def gradients(encoder: TextEncoder, out: Tensor, mask_CL: Tensor) -> list[Tensor]:
    encoder.zero_grad()
    (out * mask_CL[..., None]).square().sum().backward()
    return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("packs", [False, True])
@given(lengths=st.lists(st.integers(0, LONGEST), min_size=1, max_size=7))
def test_leaving_padding_out_changes_neither_vectors_nor_gradients(
    encoder: TextEncoder, training: bool, packs: bool, lengths: list[int]
) -> None:
    encoder.train(training)
    batch = make_batch(lengths)
    whole = encoder(batch, trim=False)
    expected = gradients(encoder, whole, batch.attention_mask_CL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoder, "CPU_OVERHEAD", 2)  # so that small batches are split, too
        patch.setattr(text_encoder, "_PACKS", {"bert"} if packs else set())
        out = encoder(batch)
    assert out.shape == whole.shape
    real = batch.attention_mask_CL
    torch.testing.assert_close(out[real], whole[real], rtol=1e-4, atol=1e-6)
    for found, wanted in zip(gradients(encoder, out, real), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_only_what_is_needed_is_encoded(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    monkeypatch.setattr(
        encoder, "_encode", lambda ids, mask: (shapes.append(tuple(ids.shape)), torch.ones(*ids.shape, 3))[1]
    )
    monkeypatch.setattr(text_encoder, "CPU_OVERHEAD", 8)
    monkeypatch.setattr(text_encoder, "_PACKS", set())
    out = encoder(make_batch([1, 8, 2, 8, 1], padded_to=20))
    assert shapes == [(3, 4), (2, 10)]
    assert out[..., 0].sum(1).tolist() == [4, 10, 4, 10, 4]
    encoder(make_batch([1, 8, 2, 8, 1], padded_to=20), trim=False)
    assert shapes[2:] == [(5, 20)]


def test_sentences_are_laid_end_to_end(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(encoder.backbone, "forward", lambda **inputs: seen.append(inputs) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encoder(make_batch([1, 4, 0, 3], padded_to=20))
    ((rows, mask, positions),) = [(i["input_ids"], i["attention_mask"], i["position_ids"]) for i in seen]
    assert rows.shape == (2, 8) and mask.shape == (2, 1, 8, 8)  # tokens: 6 + 2, and 5 + 3
    assert positions.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1], [0, 1, 2, 3, 4, 0, 1, 2]]
    assert (rows == CLS).int().tolist() == [[1, 0, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 0, 0]]
    assert mask[1, 0].int().tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 5 + [[0, 0, 0, 0, 0, 1, 1, 1]] * 3


def test_distilbert_is_packed_too(model_config: ModelConfig) -> None:
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": 17}
    torch.manual_seed(0)
    encoder, batch = TextEncoder(DistilBertModel(DistilBertConfig(**sizes)), 16).eval(), make_batch([3, 0, 9, 1])
    real = batch.attention_mask_CL
    torch.testing.assert_close(encoder(batch)[real], encoder(batch, trim=False)[real], rtol=1e-4, atol=1e-6)


def test_layers_computed_again_give_equal_gradients(model_config: ModelConfig) -> None:
    backbone, _ = load_backbone(model_config.text_encoder)  # with its dropout
    encoder, batch = TextEncoder(backbone, 16).train(), make_batch([3, 0, 9])
    found = []
    for again in (False, True):
        if again:
            encoder.checkpoint_activations()
        torch.manual_seed(0)
        found.append(gradients(encoder, encoder(batch), batch.attention_mask_CL))
    assert any(getattr(layer, "gradient_checkpointing", False) for layer in backbone.modules())
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_layers_are_computed_again_by_its_older_name_too(
    model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In transformers 5.17 there is but the other name, for the same."""
    monkeypatch.delattr(PreTrainedModel, "activation_checkpointing_enable")
    monkeypatch.setattr(
        PreTrainedModel, "gradient_checkpointing_enable", PreTrainedModel._activation_checkpointing_enable
    )
    backbone, _ = load_backbone(model_config.text_encoder)
    TextEncoder(backbone, 16).checkpoint_activations()
    assert any(getattr(layer, "gradient_checkpointing", False) for layer in backbone.modules())


def test_weights_stored_in_half_are_loaded_in_float32(text_folder: Path, tmp_path: Path) -> None:
    backbone, tokenizer = load_backbone(str(text_folder))
    for whole in (backbone.half(), tokenizer):
        whole.save_pretrained(tmp_path)
    loaded, _ = load_backbone(str(tmp_path))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32} and loaded.config.dtype == torch.float32
    batch = make_batch([3, 0])
    assert TextEncoder(loaded, 16)(batch).dtype == torch.float32


def test_an_encoder_that_cannot_is_told(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(encoder.backbone), "supports_gradient_checkpointing", False)
    with pytest.raises(InputError, match="checkpoint_activations: a text encoder of type 'bert' cannot"):
        encoder.checkpoint_activations()


def small_t5() -> PreTrainedModel:
    return T5Model(T5Config(vocab_size=17, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2))


def small_clip() -> PreTrainedModel:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPModel(CLIPConfig(text_config={**sizes, "vocab_size": 17}, vision_config=sizes, projection_dim=8))


def small_gpt2() -> PreTrainedModel:
    return GPT2Model(GPT2Config(vocab_size=17, n_positions=16, n_embd=8, n_layer=1, n_head=2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (small_t5, r"\(t5\) is not a text encoder alone"),
        (small_clip, r"\(clip\) is not a text encoder alone"),
        (small_gpt2, r"\(gpt2\): its tokenizer puts no \[CLS\] first"),
    ],
)
def test_what_is_no_encoder_with_a_cls_is_refused(
    make: object, message: str, text_folder: Path, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    words = BertTokenizerFast.from_pretrained(text_folder)
    PreTrainedTokenizerFast(
        tokenizer_object=without_special_tokens(words), unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_backbone(str(tmp_path))
    assert "\n" not in caught.value.message and "model.text_encoder" in caught.value.message


def without_special_tokens(tokenizer: BertTokenizerFast) -> object:
    from tokenizers import Tokenizer, processors

    found = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    found.post_processor = processors.Sequence([])
    return found


def test_more_words_than_the_encoder_has_positions_for(model_config: ModelConfig) -> None:
    RegionTextModel.create(model_config.model_copy(update={"max_words": 62}))
    with pytest.raises(InputError, match="63 words are 65 tokens, the text encoder reads 64; set it to at most 62"):
        RegionTextModel.create(model_config.model_copy(update={"max_words": 63}))
