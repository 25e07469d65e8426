"""Held-out clips while a model is trained, and retrieval among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from train.config import TrainConfig
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.objective.gather import joined_pairs
from train.reading.sources import Source, open_sources, refuse_unlike
from train.stream import Batch, sequential

_AT_MOST = 128  # clips embedded at a time
Autocast = Callable[[], AbstractContextManager[None]]


class HeldOut:
    """The clips that ``config.validation`` names, with centred frames.

    Raises:
        InputError: those shards cannot be used (see ``RegionStream``), or not with those that are ``learnt_from``.
    """

    def __init__(self, config: TrainConfig, learnt_from: Sequence[Source]) -> None:
        assert config.validation is not None
        held = config.validation
        chosen = {"shards": held.shards, "splits": held.splits, "draw_frames": False, "subset": 1.0}
        self._data = config.data.model_copy(update=chosen)
        refuse_unlike([*learnt_from, *open_sources(self._data)])
        self._box_dim, self._samples = config.model.box_dim, held.samples
        self._at_a_time = min(config.chunk_size or config.data.batch_size, _AT_MOST)

    def batches(self) -> Iterator[Batch]:
        """All clips, as they stand in the shards: each with its first caption, or with all its questions."""
        return sequential(self._data, self._box_dim, self._samples, self._at_a_time)


class Retrieval(HeldOut):
    """Retrieval among the held-out clips and their captions."""

    best = "R@1"

    @torch.inference_mode()
    def __call__(self, model: RegionTextModel, autocast: Autocast) -> dict[str, float]:
        """The loss of all clips as one batch, and recall at 1 among them: both directions, and their mean."""
        was_training = model.training
        model.eval()
        embedded = []
        for batch in self.batches():
            with autocast():
                text = model.tokenizer(batch.captions).to(model.device)
                embedded.append(model(batch.video.to(model.device), text))
        model.train(was_training)
        parts = ContrastiveLoss(model.loss.model_copy(update={"gather": False}))(joined_pairs(embedded))
        v2t, t2v = recall_in_batch(parts.similarity_BB)
        found = {"loss": parts.total.item(), "v2t_R@1": v2t, "t2v_R@1": t2v}
        return found | {self.best: (v2t + t2v) / 2}


def recall_in_batch(similarity_BB: Tensor) -> tuple[float, float]:
    """Share of videos whose own sentence scores above every other of the batch, and the same for sentences.

    A tie with another is a miss.
    """
    own = similarity_BB.diagonal()
    others = similarity_BB.masked_fill(torch.eye(len(own), dtype=torch.bool, device=own.device), -math.inf)
    return (own > others.amax(1)).float().mean().item(), (own > others.amax(0)).float().mean().item()
