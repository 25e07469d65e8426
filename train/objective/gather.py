"""One objective over the batches of all ranks.

Each rank compares its own videos with the sentences of all ranks; those rows together are the matrix of the whole
batch, on which every rank computes the same loss. Gradients are scaled so that their average over the ranks (what
DistributedDataParallel makes) is the gradient of that loss. Only all_gather and all_reduce of equal shapes are used,
which gloo and NCCL both have; ranks may differ in clips and in padded width.

Letters: B videos, C sentences, L words a sentence, E joint width, W ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from train.model import PairEmbedding, TextEmbedding, VideoEmbedding


def world_size() -> int:
    """Ranks that learn together; 1 where no group exists."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_texts(text: TextEmbedding, with_words: bool) -> list[TextEmbedding]:
    """The sentences of every rank, in order of rank, each rank's padded as wide as it was there; with gradient.

    The gradient of a rank's sentences is the sum of what all ranks have for them. Without words L is 0 throughout.
    """
    words_CLE = text.words_CLE if with_words else text.words_CLE[:, :0]
    mask_CL = text.mask_CL if with_words else text.mask_CL[:, :0]
    shapes = _gather_integers(mask_CL.shape, mask_CL.device)
    C, L = (max(sizes) for sizes in zip(*shapes, strict=True))
    vectors = torch.cat([text.cls_CE[:, None], words_CLE], dim=1)
    vectors_WCLE = _Gather.apply(_padded(vectors, (C, 1 + L)))
    masks_WCL = _all_gather(_padded(mask_CL.to(torch.uint8), (C, L))).bool()
    return [
        TextEmbedding(vectors_CLE[:c, 0], vectors_CLE[:c, 1 : 1 + words], mask_CL[:c, :words])
        for vectors_CLE, mask_CL, (c, words) in zip(vectors_WCLE, masks_WCL, shapes, strict=True)
    ]


def joined_texts(texts: Sequence[TextEmbedding]) -> TextEmbedding:
    """All sentences in one, padded to the longest with masked zeros."""
    if len(texts) == 1:
        return texts[0]
    L = max(text.mask_CL.shape[1] for text in texts)
    return TextEmbedding(
        torch.cat([text.cls_CE for text in texts]),
        torch.cat([_padded(text.words_CLE, (len(text.mask_CL), L)) for text in texts]),
        torch.cat([_padded(text.mask_CL, (len(text.mask_CL), L)) for text in texts]),
    )


def joined_pairs(pairs: Sequence[PairEmbedding]) -> PairEmbedding:
    """All pairs in one; the temperature is the first one's."""
    videos = [part.video for part in pairs]
    return PairEmbedding(
        VideoEmbedding(
            torch.cat([video.cls_BE for video in videos]),
            torch.cat([video.regions_BNE for video in videos]),
            torch.cat([video.mask_BN for video in videos]),
        ),
        joined_texts([part.text for part in pairs]),
        pairs[0].temperature,
    )


def gather_rows(rows_BC: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks, in order of rank; ``counts``: how many each has. The gradient is that of the rank's own
    rows times the ranks: each computes the same loss, but only its own rows lead on to its parameters, and averaging
    divides by the ranks."""
    return _GatherRows.apply(rows_BC, counts)


def share_of_all(clips: int, device: torch.device) -> float:
    """``clips * W / (clips of all ranks)``: what a rank's mean loss counts so that every clip counts alike."""
    total = torch.tensor([clips], dtype=torch.int64, device=device)
    distributed.all_reduce(total)
    return clips * world_size() / int(total)


def weigh_gradient(value: Tensor, weight: float) -> Tensor:
    """``value`` as it is, its gradient times ``weight``."""
    return _WeighGradient.apply(value, weight)


class _Gather(torch.autograd.Function):
    """[...] of each rank to [W, ...]; backward sums over the ranks, which then take their own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _all_gather(own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()  # all_reduce works in place, and the gradient may be someone else's too
        distributed.all_reduce(grad)
        return grad[distributed.get_rank()]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_BC: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.first = sum(counts[: distributed.get_rank()])
        ctx.count = len(rows_BC)
        rows_WBC = _all_gather(_padded(rows_BC, (max(counts),)))
        return torch.cat([rows[:count] for rows, count in zip(rows_WBC, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[ctx.first : ctx.first + ctx.count] * world_size(), None


class _WeighGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.weight, None


def _all_gather(own: Tensor) -> Tensor:
    own = own.contiguous()
    found = own.new_empty(world_size(), *own.shape)
    distributed.all_gather(list(found.unbind()), own)
    return found


def _gather_integers(own: Sequence[int], device: torch.device) -> list[list[int]]:
    return _all_gather(torch.tensor(list(own), dtype=torch.int64, device=device)).tolist()


def _padded(tensor: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Zeros behind the first dimensions, up to ``sizes``."""
    missing = [size - have for size, have in zip(sizes, tensor.shape, strict=False)]
    untouched = [0] * (2 * (tensor.ndim - len(sizes)))
    return F.pad(tensor, untouched + [pad for size in reversed(missing) for pad in (0, size)])
