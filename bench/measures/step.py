"""A training step of ``base`` against the naive program, against its matrix products alone, and bf16 against fp32.

Letters: B videos and as many sentences, F frames, R regions, V feature width, L word tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel

from bench.measures.naive_loss import naive_release_loss
from bench.measures.products import Products
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, ModelConfig, OptimiserConfig
from train.losses import ContrastiveLoss, global_similarity, info_nce
from train.model import PairEmbedding, RegionTextModel
from train.networks.text_encoder import load_backbone
from train.networks.tokenizer import CaptionTokenizer
from train.optimiser import make_optimiser

_FEW, _MANY = 16, 64
_SHORTEST, _LONGEST, _NAIVE_LENGTH = 8, 25, 100  # word pieces of a caption; tokens that the released code pads to
_RATIOS = (("naive", "step"), ("step", "products"), ("step", "bf16_step"))
_FIRST_WORD, _PAST_WORDS = 2000, 30000  # ids of whole words in BERT's vocabulary


@dataclass(frozen=True)
class Contestant:
    """A way to do a training step: forward, loss, backward, clipping and AdamW."""

    model: RegionTextModel
    loss: Callable[[PairEmbedding], Tensor]
    optimiser: torch.optim.Optimizer
    video: RegionBatch
    text: TextBatch
    half: bool = False

    def step(self) -> None:
        """One step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            pairs = self.model(self.video, self.text)
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(pairs).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Medians over ``rounds``, by turns, of one step with F = 1 and R = 30; weights are random, nothing is fetched.

    The naive program is the same model with sentences of 100 tokens and the release's loss
    in whole tensors. The products are those of the fp32 step, with their shapes and layouts.
    """
    torch.manual_seed(0)
    model, released = _models()
    optimiser = make_optimiser(model, OptimiserConfig(lr=1e-6))
    ours, generator = ContrastiveLoss(LossConfig()), torch.Generator().manual_seed(0)
    few, many = _batch(_FEW, generator), _batch(_MANY, generator)

    def total(pairs: PairEmbedding) -> Tensor:
        return ours(pairs).total

    single = Contestant(model, total, optimiser, *few)
    with Products() as products:
        single.step()
    work = {
        "step": single.step,
        "naive": Contestant(released, _naive_loss, optimiser, few[0], _padded(few[1])).step,
        "products": products.replay(),
        "bf16_step": Contestant(model, total, optimiser, *few, half=True).step,
    }
    found = {f"batch {_FEW}": _compared(work, rounds)}
    found[f"batch {_FEW}"]["gflop_of_products"] = round(products.floating_point_operations / 1e9)
    work = {
        "step": Contestant(model, total, optimiser, *many).step,
        "bf16_step": Contestant(model, total, optimiser, *many, half=True).step,
    }
    found[f"batch {_MANY}"] = _compared(work, rounds)
    return found


def _compared(work: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Medians: seconds by the clock, their ratios, and those of processor time, steadier where others use it, too."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first one warms up
                taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    medians = {name: [statistics.median(kind) for kind in zip(*turns, strict=True)] for name, turns in taken.items()}
    found = {f"{name}_s": round(clock, 3) for name, (clock, _) in medians.items()}
    for slower, faster in _RATIOS:
        if slower in medians and faster in medians:
            for suffix, over, under in zip(("", "_cpu"), medians[slower], medians[faster], strict=True):
                found[f"{slower}_over_{faster}{suffix}"] = round(over / under, 3)
    return found


def _models() -> tuple[RegionTextModel, RegionTextModel]:
    """``base`` with a DistilBERT of random weights, and the same encoders as the released code uses them."""
    config = ModelConfig.model_validate({"preset": "base"})
    _, tokenizer = load_backbone("minilm")  # of the same vocabulary
    words = CaptionTokenizer(tokenizer, config.max_words)
    model = RegionTextModel(config, DistilBertModel(DistilBertConfig()), words).train()
    released = RegionTextModel(config, model.text_encoder.backbone, words, LossConfig(local_form="release")).train()
    released.video_encoder, released.text_encoder = model.video_encoder, model.text_encoder
    return model, released


def _batch(B: int, generator: torch.Generator) -> tuple[RegionBatch, TextBatch]:
    features = torch.randn(B, 1, 30, 2048, generator=generator).half()
    video = RegionBatch(features, torch.rand(B, 1, 30, 7, generator=generator), torch.ones(B, 1, 30, dtype=torch.bool))
    pieces_C = torch.randint(_SHORTEST, _LONGEST + 1, (B,), generator=generator)
    length = int(pieces_C.max()) + 2  # [CLS] and [SEP]
    ids_CL = torch.randint(_FIRST_WORD, _PAST_WORDS, (B, length), generator=generator)
    mask_CL = torch.arange(length) < pieces_C[:, None] + 2
    ids_CL[~mask_CL] = 0
    return video, TextBatch(ids_CL, mask_CL)


def _naive_loss(pairs: PairEmbedding) -> Tensor:
    video, text = pairs.video, pairs.text
    scores_BC = global_similarity(video.cls_BE, text.cls_CE)
    local = naive_release_loss(video.regions_BNE, video.mask_BN, text.words_CLE, text.mask_CL)
    return info_nce(scores_BC, pairs.temperature) + local


def _padded(text: TextBatch) -> TextBatch:
    more = (0, _NAIVE_LENGTH - text.input_ids_CL.shape[1])
    pad = torch.nn.functional.pad
    return TextBatch(pad(text.input_ids_CL, more), pad(text.attention_mask_CL, more))
