"""Retrieval among held-out clips while a model is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from train.config import TrainConfig
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.objective.cached_gradients import concatenated
from train.stream import HeldOut

BEST = "validation_R@1"
Autocast = Callable[[], AbstractContextManager[None]]


class Validation:
    """The clips that ``config.validation`` names, each with its first caption and centred frames.

    Raises:
        InputError: those shards cannot be used; see ``RegionStream``.
    """

    def __init__(self, config: TrainConfig) -> None:
        assert config.validation is not None
        held = config.validation
        chosen = {"shards": held.shards, "splits": held.splits, "draw_frames": False, "subset": 1.0}
        self.clips = HeldOut(config.data.model_copy(update=chosen), config.model.box_dim, held.samples)
        self._loss = ContrastiveLoss(config.loss.model_copy(update={"gather": False}))
        self._at_a_time = config.chunk_size or config.data.batch_size

    @torch.inference_mode()
    def __call__(self, model: RegionTextModel, autocast: Autocast) -> dict[str, float]:
        """The loss of all clips as one batch, and recall at 1 among them: both directions, and their mean."""
        was_training = model.training
        model.eval()
        embedded = []
        for batch in self.clips.batches(self._at_a_time):
            with autocast():
                text = model.tokenizer(batch.captions).to(model.device)
                embedded.append(model(batch.video.to(model.device), text))
        model.train(was_training)
        parts = self._loss(concatenated(embedded))
        v2t, t2v = recall_in_batch(parts.similarity_BB)
        found = {"validation_loss": parts.total.item(), "validation_v2t_R@1": v2t, "validation_t2v_R@1": t2v}
        return found | {BEST: (v2t + t2v) / 2}


def recall_in_batch(similarity_BB: Tensor) -> tuple[float, float]:
    """Share of videos whose own sentence scores above every other of the batch, and the same for sentences.

    A tie with another is a miss.
    """
    own = similarity_BB.diagonal()
    others = similarity_BB.masked_fill(torch.eye(len(own), dtype=torch.bool, device=own.device), -math.inf)
    return (own > others.amax(1)).float().mean().item(), (own > others.amax(0)).float().mean().item()
