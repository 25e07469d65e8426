"""Operations of a step against torch's own counter, on the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, ModelConfig, TrainConfig
from train.forecast.cost import StepCost, TextSizes, loss_cost, run_cost, step_cost, text_cost, video_cost
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.objective.release_form import release_similarity

B, L, R = 6, 9, 5


def batch(config: ModelConfig, frames: int) -> tuple[RegionBatch, TextBatch]:
    shape = (B, frames, R)
    video = RegionBatch(
        torch.randn(*shape, config.feature_dim).half(), torch.rand(*shape, 7), torch.ones(shape, dtype=torch.bool)
    )
    words = torch.randint(5, 10, (B, L))
    words[:, 0], words[:, -1] = 2, 3  # [CLS] and [SEP]
    return video, TextBatch(words, torch.ones(B, L, dtype=torch.bool))


def counted(work: Any) -> float:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others hide their products from it
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("frozen", [False, True])
def test_encoders_agree_with_the_counter(model_config: ModelConfig, frames: int, frozen: bool) -> None:
    torch.manual_seed(0)
    model = RegionTextModel.create(model_config)
    if frozen:
        model.text_encoder.freeze()
    video, text = batch(model_config, frames)
    sizes = TextSizes.of(model.text_encoder.backbone)
    found = {}

    def forward() -> None:
        found["pairs"] = model(video, text)

    def backward() -> None:
        pairs = found["pairs"]
        outputs = (pairs.video.cls_BE, pairs.video.regions_BNE, pairs.text.cls_CE, pairs.text.words_CLE)
        sum(output.sum() for output in outputs).backward()

    one, sentences = video_cost(model_config, frames, R), text_cost(model_config, sizes, [L] * B, frozen)
    assert counted(forward) == pytest.approx(B * one.forward + sentences.forward, rel=0.01)
    assert counted(backward) == pytest.approx(B * one.backward + sentences.backward, rel=0.01)


def test_a_whole_step_agrees_with_the_counter(model_config: ModelConfig) -> None:
    torch.manual_seed(0)
    loss = LossConfig()
    model = RegionTextModel.create(model_config, loss)
    video, text = batch(model_config, 2)
    cost = step_cost(model_config, TextSizes.of(model.text_encoder.backbone), loss, 2, R, [L] * B)
    done = counted(lambda: ContrastiveLoss(loss)(model(video, text)).total.backward())
    assert done == pytest.approx(cost.done, rel=0.03)
    assert cost.useful < cost.done


def test_the_objective_agrees_with_the_counter_on_the_plain_formula(model_config: ModelConfig) -> None:
    N, E, pairs, words = 20, model_config.joint_dim, 24, 11
    regions, cls = torch.randn(pairs * N, E, requires_grad=True), torch.randn(pairs, E, requires_grad=True)
    sentences, whole = (torch.randn(size, E, requires_grad=True) for size in (pairs * words, pairs))

    def work() -> None:
        scores = (regions @ sentences.T).view(pairs, N, pairs, words)
        local = (scores.softmax(-1) * scores).sum(-1).mean(1)
        (local + cls @ whole.T).sum().backward()

    cost = loss_cost(model_config, LossConfig(), N, [words + 2] * pairs, ranks=1)
    assert counted(work) == pytest.approx(cost.useful, rel=0.01)
    assert cost.again == pytest.approx(2 * pairs * N * pairs * words * E), "our own makes the local scores again"


def test_the_release_form_agrees_with_the_counter(model_config: ModelConfig) -> None:
    """Sentences of equal length, padded; items so small beside their number that their Gram matrices hardly count."""
    N, E, pairs, words, padded = 6, model_config.joint_dim, 48, 4, model_config.max_words + 1
    regions, positions = (torch.randn(pairs, many, E, requires_grad=True) for many in (N, padded))
    is_region = torch.ones(pairs, N, dtype=torch.bool)
    is_word = (torch.arange(padded) < words + 1).expand(pairs, padded)  # [SEP] is one

    def work() -> None:
        release_similarity(regions, is_region, positions, is_word, True, 1 << 24).sum().backward()

    loss = LossConfig(local_form="release", global_weight=0)
    cost = loss_cost(model_config, loss, N, [words + 2] * pairs, ranks=1)
    assert counted(work) == pytest.approx(cost.done, rel=0.03)


def test_a_step_in_the_release_form_agrees_with_the_counter(model_config: ModelConfig) -> None:
    torch.manual_seed(0)
    loss = LossConfig(local_form="release")
    model = RegionTextModel.create(model_config, loss)
    video, _ = batch(model_config, 2)
    text = model.tokenizer(["a red star moves left"] * B)
    cost = step_cost(model_config, TextSizes.of(model.text_encoder.backbone), loss, 2, R, [7] * B)
    done = counted(lambda: ContrastiveLoss(loss)(model(video, text)).total.backward())
    assert done == pytest.approx(cost.done, rel=0.03)


def test_parts_that_are_computed_again_or_not_at_all(model_config: ModelConfig) -> None:
    text, lengths = TextSizes(1000, 2, 32), [5, 9, 7, 12]

    def cost(**options: Any) -> StepCost:
        loss = options.pop("loss", LossConfig())
        return step_cost(model_config, text, loss, 2, R, lengths, **options)

    plain = cost()
    encoders = 4 * video_cost(model_config, 2, R).forward + text_cost(model_config, text, lengths, False).forward
    assert cost(chunked=True).again - plain.again == pytest.approx(encoders)
    assert cost(checkpointed=True, chunked=True).again - plain.again == pytest.approx(2 * encoders)
    assert cost(chunked=True).useful == plain.useful
    assert cost(frozen_text=True).backward < plain.backward and cost(frozen_text=True).forward == plain.forward
    apart = cost(loss=LossConfig(gather=False), ranks=2)
    scores = loss_cost(model_config, LossConfig(), 2 * R, lengths, 1)
    assert plain.useful - apart.useful == pytest.approx(scores.useful / 2)
    only_global = cost(loss=LossConfig(local_weight=0))
    assert only_global.again == 0 and only_global.useful < plain.useful
    assert cost(loss=LossConfig(local_form="release")).useful > plain.useful


def test_a_run_of_several_ranks(model_config: ModelConfig) -> None:
    data = {"shards": ["shards"], "frames": 2, "regions": R}
    tree = {"out": "run", "model": model_config.model_dump(), "data": data, "chunk_size": 2}
    config = TrainConfig.model_validate(tree | {"optimiser": {"freeze_text": True}, "checkpoint_activations": True})
    text, lengths = TextSizes(1000, 2, 32), [5, 9]
    expected = step_cost(
        config.model, text, config.loss, 2, R, lengths * 3, frozen_text=True, chunked=True, checkpointed=True, ranks=3
    )
    assert run_cost(config, text, lengths, ranks=3) == expected
