"""Learning in chunks against learning from one big batch, in float64, with dropout and a learnt temperature."""

from __future__ import annotations

import pytest
import torch

from tests.train.objective.tiny import TinyModel, assert_equal, batch_of, one_batch
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, ModelConfig
from train.losses import ContrastiveLoss, LossParts
from train.model import PairEmbedding, RegionTextModel, TextEmbedding
from train.objective.cached_gradients import learn

CLIPS = 7


@pytest.mark.parametrize("form", ["slides", "release"])
@pytest.mark.parametrize("chunk_size", [1, 3, CLIPS, 100, None])
def test_chunks_give_the_gradients_of_one_big_batch(form: str, chunk_size: int | None) -> None:
    """Beyond the batch's size there is nothing to chunk, and nothing to trim."""
    model, config, (video, text) = TinyModel(form), LossConfig(local_form=form), batch_of(3, CLIPS)
    in_chunks = chunk_size if chunk_size is not None and chunk_size < CLIPS else None
    expected = one_batch(model, config, [(video, text)], in_chunks)
    torch.manual_seed(0)
    parts = learn(model, ContrastiveLoss(config), video, text, chunk_size=chunk_size)
    after = torch.get_rng_state()
    assert_equal(parts, [parameter.grad for parameter in model.parameters()], expected)
    torch.manual_seed(0)
    one_batch(model, config, [(video, text)], in_chunks)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("weights", [{"global_weight": 0.0}, {"local_weight": 0.0}])
def test_each_part_alone(weights: dict[str, float]) -> None:
    model, config, (video, text) = TinyModel("slides"), LossConfig(**weights), batch_of(3, CLIPS)
    expected = one_batch(model, config, [(video, text)], 2)
    torch.manual_seed(0)
    parts = learn(model, ContrastiveLoss(config), video, text, chunk_size=2)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    assert_equal(parts, gradients, expected)


def test_gradients_are_scaled_and_added_up() -> None:
    model, loss, (video, text) = TinyModel("slides", dropout=0.0), ContrastiveLoss(LossConfig()), batch_of(3, CLIPS)
    learn(model, loss, video, text, chunk_size=3)
    once = [parameter.grad.clone() for parameter in model.parameters()]
    learn(model, loss, video, text, chunk_size=3, scale=lambda total: total * 1024)
    for parameter, before in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 1025 * before)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_loss_that_is_refused_leaves_no_gradient(chunk_size: int | None) -> None:
    def refuse(parts: LossParts) -> None:
        raise ArithmeticError(f"{parts.total.item()}")

    model, (video, text) = TinyModel("slides"), batch_of(3, CLIPS)
    with pytest.raises(ArithmeticError):
        learn(model, ContrastiveLoss(LossConfig()), video, text, chunk_size=chunk_size, check=refuse)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_widths_that_count_must_agree() -> None:
    class Trims(TinyModel):
        def forward(self, video: RegionBatch, text: TextBatch) -> PairEmbedding:
            pairs = super().forward(video, text)
            words, mask = pairs.text.words_CLE, pairs.text.mask_CL
            width = int(mask.sum(1).max())
            return PairEmbedding(
                pairs.video, TextEmbedding(pairs.text.cls_CE, words[:, :width], mask[:, :width]), pairs.temperature
            )

    video, text = batch_of(3, CLIPS)
    with pytest.raises(ValueError, match="one padded width"):
        learn(Trims("release"), ContrastiveLoss(LossConfig(local_form="release")), video, text, chunk_size=2)


def test_the_real_model_learns_in_chunks(model_config: ModelConfig) -> None:
    """Without dropout one big batch is the same computation; sentences of a chunk are padded less."""
    torch.manual_seed(0)
    loss = LossConfig(learn_temperature=True)
    model = RegionTextModel.create(model_config, loss).eval()
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(4, 1, 6, model_config.feature_dim, generator=rng).half()
    video = RegionBatch(features, torch.rand(4, 1, 6, 7, generator=rng), torch.ones(4, 1, 6, dtype=torch.bool))
    text = model.tokenizer(["a red star", "a ring", "blue", "a green cross moves left"])
    gradients = []
    for chunk_size in (None, 2):
        model.zero_grad()
        learn(model, ContrastiveLoss(loss), video, text, chunk_size=chunk_size)
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and "log_temperature" in gradients[0]
    for name, whole in gradients[0].items():
        difference = (gradients[1][name] - whole).abs().max()
        assert difference <= 1e-5 * max(1.0, whole.abs().max().item()), name
