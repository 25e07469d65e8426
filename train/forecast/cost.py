"""What a training step costs: floating-point operations of its matrix products, as pure functions of sizes.

Letters: B videos and as many sentences, F frames, R regions a frame, N = F*R, V feature width, K box width, D width,
E joint width, L tokens of a sentence. A product of [m, k] and [k, n] counts 2*m*k*n.

Counted: every linear map, the products of attention, and the scores of the objective. Left out: norms, softmax, GELU,
embedding tables, the optimiser; a few per cent of the time of a step on a CPU, and less than one of its operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from train.config import LossConfig, ModelConfig, TrainConfig

_SPECIAL = 2  # [CLS] and [SEP]; no words of a sentence but in the release form, which takes [SEP] for one


@dataclass(frozen=True)
class TextSizes:
    """A text encoder: multiplications a token in all its linear maps, its layers and its width."""

    linear: int
    layers: int
    width: int

    @classmethod
    def of(cls, backbone: PreTrainedModel) -> TextSizes:
        """Those of a BERT-like encoder whose layers share no weights."""
        linear = sum(map_.weight.numel() for map_ in backbone.modules() if isinstance(map_, nn.Linear))
        return cls(linear, backbone.config.num_hidden_layers, backbone.config.hidden_size)


@dataclass(frozen=True)
class StepCost:
    """Operations of a step over all ranks: ``forward``, ``backward``, and ``again`` for what is computed twice.

    ``useful`` is what MFU is made of: that a program computes a thing twice to save memory is no merit
    (arXiv 2204.02311, appendix B).
    """

    forward: float
    backward: float
    again: float = 0.0

    @property
    def useful(self) -> float:
        """What the step needs at the least."""
        return self.forward + self.backward

    @property
    def done(self) -> float:
        """What is computed."""
        return self.useful + self.again

    def __add__(self, other: StepCost) -> StepCost:
        return StepCost(self.forward + other.forward, self.backward + other.backward, self.again + other.again)


def run_cost(config: TrainConfig, text: TextSizes, lengths: Sequence[int], ranks: int = 1) -> StepCost:
    """A step of that run, from the real tokens of each sentence on one of its ``ranks``; the others' are taken to be
    alike."""
    return step_cost(
        config.model, text, config.loss, config.data.frames, config.data.regions, [*lengths] * ranks,
        frozen_text=config.optimiser.freeze_text, chunked=config.chunk_size is not None,
        checkpointed=config.checkpoint_activations, ranks=ranks,
    )  # fmt: skip


def answering_cost(
    config: TrainConfig, text: TextSizes, answers: int, lengths: Sequence[int], clips: int, ranks: int = 1
) -> StepCost:
    """A step on questions, from the real tokens of each and the number of clips on one of ``ranks`` that are alike.

    Nothing is embedded twice for chunks: the loss is a sum over questions.
    """
    model, data = config.model, config.data
    assert config.answering is not None
    video = _times(video_cost(model, data.frames, data.regions), clips)
    encoders = video + text_cost(model, text, lengths, config.optimiser.freeze_text)
    again = StepCost(0, 0, encoders.forward * config.checkpoint_activations)
    head = head_cost(model, config.answering.hidden, answers, data.frames * data.regions, clips, len(lengths))
    return _times(encoders + again + head, ranks)


def step_cost(
    model: ModelConfig,
    text: TextSizes,
    loss: LossConfig,
    frames: int,
    regions: int,
    lengths: Sequence[int],
    *,
    frozen_text: bool = False,
    chunked: bool = False,
    checkpointed: bool = False,
    ranks: int = 1,
) -> StepCost:
    """A step on the whole batch of all ranks: ``lengths`` has each sentence's real tokens, [CLS] and [SEP] counted.

    frozen_text: only the text's projection learns. chunked: each chunk is embedded once more, with its graph.
    checkpointed: blocks are computed again in the backward pass. ranks: without ``loss.gather`` each scores its own
    pairs alone. With the release form's loss the text encoder reads padded positions too, whose vectors count there.
    """
    read = [model.max_words + _SPECIAL] * len(lengths) if loss.local_form == "release" else lengths
    video = video_cost(model, frames, regions) if lengths else StepCost(0, 0)
    encoders = _times(video, len(lengths)) + text_cost(model, text, read, frozen_text)
    again = encoders.forward * (chunked + checkpointed)
    scores = loss_cost(model, loss, frames * regions, lengths, 1 if loss.gather else ranks)
    return encoders + StepCost(0, 0, again) + scores


def video_cost(model: ModelConfig, frames: int, regions: int) -> StepCost:
    """One video: padded regions are computed as real ones are. Its features need no gradient."""
    N, D = frames * regions, model.width
    S = 1 + N
    entry = 2.0 * N * (model.feature_dim + model.box_dim) * D
    linear = 2.0 * S * D * (4 * D + 2 * int(D * model.mlp_ratio))
    pairs = S * S if frames == 1 else S + N * (1 + regions)
    if model.time_attention:
        linear += 2.0 * N * 4 * D * D
        pairs += N * frames
    rest = model.depth * (linear + 4.0 * pairs * D) + 2.0 * S * D * model.joint_dim
    return StepCost(entry + rest, entry + 2 * rest)


def text_cost(model: ModelConfig, text: TextSizes, lengths: Sequence[int], frozen: bool) -> StepCost:
    """Sentences of so many tokens; where padding is left out, without it."""
    tokens, pairs = sum(lengths), sum(length * length for length in lengths)
    backbone = 2.0 * tokens * text.linear + 4.0 * text.layers * pairs * text.width
    projection = 2.0 * tokens * text.width * model.joint_dim
    return StepCost(backbone + projection, projection if frozen else 2 * (backbone + projection))


def loss_cost(model: ModelConfig, loss: LossConfig, regions: int, lengths: Sequence[int], ranks: int) -> StepCost:
    """Scores of all pairs that are compared; ``regions`` is N. Local scores are made again in the backward pass.

    The release form has two directions: regions look for the real words, [SEP] among them, and all ``max_words + 1``
    positions of a sentence for regions. These are ``useful``: padded queries are part of what that form is defined as,
    so nothing less gives its value. It also has the norms of what is attended to: a product of each pair's attention
    with a Gram matrix; making these matrices, of one item each, is left out.
    """
    B, E = len(lengths), model.joint_dim
    global_ = 2.0 * B * B * E / ranks if loss.global_weight else 0.0
    if not loss.local_weight:
        local = 0.0
    elif loss.local_form == "release":
        words, queries = [max(0, length - 1) for length in lengths], B * (model.max_words + 1)
        to_words = sum(L * (E + L) for L in words)
        local = 2.0 * B * regions * (to_words + queries * (E + regions)) / ranks
    else:
        local = 2.0 * B * regions * sum(max(0, length - _SPECIAL) for length in lengths) * E / ranks
    return StepCost(global_ + local, 2 * (global_ + local), local)


def head_cost(model: ModelConfig, hidden: int, answers: int, regions: int, clips: int, questions: int) -> StepCost:
    """The head on all questions of a batch; ``regions`` is N. Regions are mapped once for all questions of a clip."""
    E, H = model.joint_dim, hidden
    a_question = 3 * E * H + regions * (H + E) + H * 2 * H + 2 * H * answers
    forward = 2.0 * (clips * regions * E * H + questions * a_question)
    return StepCost(forward, 2 * forward)


def _times(cost: StepCost, count: int) -> StepCost:
    return StepCost(cost.forward * count, cost.backward * count, cost.again * count)
