"""A model in float64 that is small enough to compare gradients of, with dropout and a learnt temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.batch import RegionBatch, TextBatch
from train.config import LossConfig
from train.losses import ContrastiveLoss, LossParts
from train.model import PairEmbedding, TextEmbedding, VideoEmbedding

FEATURES, JOINT, WORDS, LONGEST = 5, 6, 11, 9


class TinyModel(nn.Module):
    """In the release form masked regions and words keep their vectors, as in the real model."""

    def __init__(self, form: str, dropout: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.region, self.clip = (nn.Linear(FEATURES, JOINT, dtype=torch.float64) for _ in range(2))
        self.word, self.place = (nn.Embedding(size, JOINT, dtype=torch.float64) for size in (WORDS, LONGEST + 1))
        self.dropout = nn.Dropout(dropout)
        self.log_temperature = nn.Parameter(torch.tensor(-1.5, dtype=torch.float64))

    def forward(self, video: RegionBatch, text: TextBatch) -> PairEmbedding:
        features, mask = self.dropout(video.features_BFRV.double().flatten(1, 2)), video.mask_BFR.flatten(1)
        regions = F.normalize(self.region(features), dim=-1)
        tokens = self.word(text.input_ids_CL) + self.place.weight[: text.input_ids_CL.shape[1]]
        words, real = F.normalize(self.dropout(tokens)[:, 1:], dim=-1), text.attention_mask_CL[:, 1:]
        clip = F.normalize(self.clip((features * mask[..., None]).sum(1)), dim=-1)
        sentence = F.normalize((tokens * text.attention_mask_CL[..., None]).sum(1), dim=-1)
        if self.form == "slides":
            regions, words = regions * mask[..., None], words * real[..., None]
        return PairEmbedding(
            VideoEmbedding(clip, regions, mask), TextEmbedding(sentence, words, real), self.log_temperature.exp()
        )


def batch_of(seed: int, clips: int, longest: int = LONGEST) -> tuple[RegionBatch, TextBatch]:
    """2 frames of 3 regions; sentences of 0 to ``longest`` words behind [CLS]. The first clip has no region."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(clips, 2, 3, generator=rng) < 0.8
    mask[0] = False
    features = torch.randn(clips, 2, 3, FEATURES, generator=rng).half()
    ids = torch.randint(0, WORDS, (clips, 1 + longest), generator=rng)
    lengths = torch.randint(0, longest + 1, (clips, 1), generator=rng)
    return RegionBatch(features, torch.zeros(clips, 2, 3, 7), mask), TextBatch(
        ids, torch.arange(1 + longest) <= lengths
    )


def one_batch(
    model: TinyModel, config: LossConfig, batches: Sequence[tuple[RegionBatch, TextBatch]], chunk_size: int | None
) -> tuple[LossParts, list[Tensor]]:
    """Loss of all batches as one, and gradients, with one graph over everything.

    Dropout falls as it does for ranks that were seeded with their number and embed ``chunk_size`` clips at a time,
    without the padding that no sentence of a chunk needs.
    """
    found = []
    for seed, (video, text) in enumerate(batches):
        torch.manual_seed(seed)
        if chunk_size is None:
            found.append(model(video, text))
        else:
            found += [model(video[rows], trimmed(text[rows], model.form)) for rows in chunks(len(video), chunk_size)]
    longest = max(pairs.text.mask_CL.shape[1] for pairs in found)

    def wide(tensor: Tensor) -> Tensor:
        filling = tensor.new_zeros(len(tensor), longest - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, filling], dim=1)

    video = VideoEmbedding(*(torch.cat(parts) for parts in zip(*(vars(p.video).values() for p in found), strict=True)))
    text = TextEmbedding(
        torch.cat([p.text.cls_CE for p in found]),
        torch.cat([wide(p.text.words_CLE) for p in found]),
        torch.cat([wide(p.text.mask_CL) for p in found]),
    )
    parts = ContrastiveLoss(config)(PairEmbedding(video, text, found[0].temperature))
    return parts, list(torch.autograd.grad(parts.total, list(model.parameters()), materialize_grads=True))


def trimmed(text: TextBatch, form: str) -> TextBatch:
    """The sentences without the padding that none of them needs, unless the form counts it."""
    longest = int(text.attention_mask_CL.sum(1).max()) if form == "slides" else None
    return TextBatch(text.input_ids_CL[:, :longest], text.attention_mask_CL[:, :longest])


def chunks(clips: int, chunk_size: int) -> list[slice]:
    return [slice(start, min(start + chunk_size, clips)) for start in range(0, clips, chunk_size)]


def assert_equal(parts: LossParts, gradients: Sequence[Tensor], expected: tuple[LossParts, list[Tensor]]) -> None:
    for name in ("total", "global_", "local", "similarity_BB"):
        torch.testing.assert_close(getattr(parts, name), getattr(expected[0], name), rtol=1e-9, atol=1e-9)
    for ours, one in zip(gradients, expected[1], strict=True):
        torch.testing.assert_close(ours, one, rtol=1e-8, atol=1e-9)
