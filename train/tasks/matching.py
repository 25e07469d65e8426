"""Learning to match clips and captions, by the contrastive loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from train.batch import RegionBatch, TextBatch
from train.config import TrainConfig
from train.forecast.cost import StepCost, TextSizes, run_cost
from train.losses import ContrastiveLoss, LossParts
from train.objective.cached_gradients import learn
from train.reading.sources import Source
from train.start import make_model
from train.stream import Batch
from train.validation import Autocast, Retrieval, recall_in_batch


@dataclass(frozen=True, eq=False)
class Pairs:
    """Clips and their captions: row i of the one belongs to row i of the other."""

    video: RegionBatch
    text: TextBatch

    def to(self, device: torch.device | str) -> Pairs:
        """The same on another device."""
        return Pairs(self.video.to(device), self.text.to(device))


class Matching:
    """See ``Task``."""

    objective: Literal["contrastive"] = "contrastive"
    best = Retrieval.best
    fingerprint = ""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.model = self.base = make_model(config)
        self.loss = ContrastiveLoss(self.model.loss)
        self._text = TextSizes.of(self.model.text_encoder.backbone)

    def prepare(self, batch: Batch) -> Pairs:
        """Tokenizes the captions."""
        return Pairs(batch.video, self.model.tokenizer(batch.captions))

    def learn(
        self,
        learner: nn.Module,
        pairs: Pairs,
        autocast: Autocast,
        scale: Callable[[Tensor], Tensor],
    ) -> LossParts:
        """One loss over all pairs, ``config.chunk_size`` of them embedded at a time."""
        return learn(
            learner, self.loss, pairs.video, pairs.text,
            chunk_size=self.config.chunk_size, autocast=autocast, scale=scale,
        )  # fmt: skip

    def describe(self, parts: LossParts) -> dict[str, float]:
        """The loss, its parts, recall within the batch, and the temperature after the step."""
        v2t, t2v = recall_in_batch(parts.similarity_BB)
        loss, global_, local = torch.stack([parts.total, parts.global_, parts.local]).detach().tolist()
        found = {"loss": loss, "loss_global": global_, "loss_local": local, "batch_v2t_R@1": v2t, "batch_t2v_R@1": t2v}
        return found | {"temperature": self.model.temperature.item()}

    def cost(self, pairs: Pairs, ranks: int) -> StepCost:
        """Both encoders, and the scores of all pairs."""
        return run_cost(self.config, self._text, pairs.text.attention_mask_CL.sum(1).tolist(), ranks)

    def validation(self, learnt_from: Sequence[Source]) -> Retrieval:
        """Retrieval among the held-out clips."""
        return Retrieval(self.config, learnt_from)
