"""The contrastive loss of a batch of matching pairs.

Letters: B videos (row i), C sentences (column j), N regions a video, L words a sentence, E joint width. All embeddings
are L2-normalised. Source: arXiv 2203.07720, in the form of its slides or of its published code (``objective``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train.config import LossConfig
from train.model import PairEmbedding, TextEmbedding, VideoEmbedding
from train.objective.gather import gather_rows, gather_texts, joined_texts, share_of_all, weigh_gradient, world_size
from train.objective.precision import full_precision, widened
from train.objective.region_word import region_word_similarity
from train.objective.release_form import release_loss, release_similarity


@dataclass(frozen=True, eq=False)
class LossParts:
    """Scalars ``total = global_weight * global_ + local_weight * local``; a part that is switched off is 0.

    similarity_BB: the sum of the similarities in use, without gradient, for recall within the batch; with gathered
    negatives that of all ranks (in order of rank), the same on each of them.
    """

    total: Tensor
    global_: Tensor
    local: Tensor
    similarity_BB: Tensor

    def detach(self) -> LossParts:
        """The values alone: the graph behind them keeps embeddings and slopes in memory."""
        return LossParts(self.total.detach(), self.global_.detach(), self.local.detach(), self.similarity_BB)


class ContrastiveLoss:
    """InfoNCE over the global and the region-word similarity, or the release form's loss over the latter.

    With ``config.gather`` and several ranks the value is that of the whole batch, on every rank; without, it is that of
    the rank's own clips, and its gradient counts each clip of the whole batch alike (a rank of more clips counts more).
    Either way the gradients are to be averaged over the ranks, and every rank has to call it and go backward through
    it. In the release form a sentence keeps the width that its rank padded it to.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, pairs: PairEmbedding) -> LossParts:
        """Loss of B videos and their B sentences, row i belonging to column i.

        Raises:
            ValueError: not as many sentences as videos.
        """
        config, video = self.config, pairs.video
        if len(video.cls_BE) != len(pairs.text.cls_CE):
            raise ValueError(f"{len(video.cls_BE)} videos with {len(pairs.text.cls_CE)} sentences are not pairs")
        gathers, ranks = config.gather and world_size() > 1, world_size()
        texts = gather_texts(pairs.text, bool(config.local_weight)) if gathers else [pairs.text]
        counts = [len(text.cls_CE) for text in texts]  # of sentences and, as they are pairs, of videos
        zero = video.cls_BE.new_zeros((), dtype=widened(video.cls_BE).dtype)
        global_, local, similarity_BB = zero, zero, zero
        if config.global_weight:
            scores_BC = global_similarity(video.cls_BE, torch.cat([text.cls_CE for text in texts]))
            scores_BB = gather_rows(scores_BC, counts) if gathers else scores_BC
            global_, similarity_BB = info_nce(scores_BB, pairs.temperature), similarity_BB + scores_BB.detach()
        if config.local_weight:
            scores_BC = local_similarity(video, texts, config)
            scores_BB = gather_rows(scores_BC, counts) if gathers else scores_BC
            local, similarity_BB = self._local(scores_BB, pairs.temperature), similarity_BB + scores_BB.detach()
        total = config.global_weight * global_ + config.local_weight * local
        if ranks > 1 and not gathers and torch.is_grad_enabled():  # else nobody else is here to be weighed with
            total = weigh_gradient(total, share_of_all(len(video.cls_BE), total.device))
        return LossParts(total, global_, local, similarity_BB)

    def _local(self, similarity_BB: Tensor, temperature: Tensor) -> Tensor:
        if self.config.local_form == "release":
            return release_loss(similarity_BB)
        return info_nce(similarity_BB, temperature)


def info_nce(similarity_BB: Tensor, temperature: Tensor | float) -> Tensor:
    """``L_v2l + L_l2v``: cross-entropy of the diagonal of ``similarity / temperature``, over rows plus over columns."""
    logits = similarity_BB / temperature
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def global_similarity(cls_BE: Tensor, cls_CE: Tensor) -> Tensor:
    """Cosine ``G [B, C]`` of each video's [CLS] with each sentence's [CLS], float32 at least."""
    with full_precision(cls_BE):
        return widened(cls_BE) @ widened(cls_CE).T


def local_similarity(video: VideoEmbedding, texts: Sequence[TextEmbedding], config: LossConfig) -> Tensor:
    """Local similarity ``S [B, C]`` in the form of ``config`` with the sentences of all ``texts``, in their order.

    In the release form each of ``texts`` keeps its padded width, which matters there.
    """
    regions_BNE, mask_BN = video.regions_BNE, video.mask_BN
    if config.local_form == "release":
        blocks = (
            release_similarity(regions_BNE, mask_BN, text.words_CLE, text.mask_CL, config.focal) for text in texts
        )
        return torch.cat(list(blocks), dim=1)
    text = joined_texts(texts)
    return region_word_similarity(regions_BNE, mask_BN, text.words_CLE, text.mask_CL, config.sharpness)
