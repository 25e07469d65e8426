"""One step of learning from a batch that is embedded in chunks, with the gradients of the whole batch.

Contrastive losses need all pairs at once, encoders do not. So the chunks are embedded without a graph, the loss is made
of all embeddings and gives their gradients, and each chunk is embedded again, under the same random states, to pass
its share of them on to the parameters. Memory: the graph of one chunk, and the embeddings of the batch. Source: arXiv
2101.06983.

Letters: B videos, C sentences, N regions a video, L words a sentence, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.batch import RegionBatch, TextBatch
from train.losses import ContrastiveLoss, LossParts
from train.model import PairEmbedding, TextEmbedding
from train.objective.gather import joined_pairs, world_size


def learn(
    model: nn.Module,
    loss: ContrastiveLoss,
    video: RegionBatch,
    text: TextBatch,
    *,
    chunk_size: int | None,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    scale: Callable[[Tensor], Tensor] = lambda total: total,
    check: Callable[[LossParts], None] = lambda parts: None,
) -> LossParts:
    """Adds the gradient of the loss of a batch of pairs to the parameters of ``model`` and returns its value.

    model: a RegionTextModel, or DistributedDataParallel around one, which averages once, in the last chunk.
    chunk_size: pairs that are embedded at a time; null: all at once, embedded a single time. Ranks may differ in their
    numbers of chunks but must agree on whether there is a chunk size. autocast: a new context for a forward pass.
    scale: what the loss is multiplied by before the backward pass (GradScaler.scale). check: sees the loss before
    anything goes backward and may raise.

    Raises:
        ValueError: the release form, and a model that pads the sentences of chunks differently.
    """
    if chunk_size is None or (world_size() == 1 and chunk_size >= len(video)):
        with autocast():
            pairs = model(video, text)
        parts = loss(pairs)
        check(parts)
        scale(parts.total).backward()
        return parts.detach()
    starts = [*range(0, len(video), chunk_size), len(video)]
    width_counts = loss.config.local_form == "release"
    chunks = [_Chunk(slice(*ends), video, text, not width_counts) for ends in pairwise(starts)]
    with torch.no_grad():
        embedded = [chunk.embed(model, autocast) for chunk in chunks]
    widths = {pairs.text.words_CLE.shape[1] for pairs in embedded}
    if width_counts and len(widths) > 1:
        raise ValueError(f"the release form needs sentences of one padded width, chunks have {sorted(widths)}")
    leaves = _leaves(embedded)
    parts = loss(leaves)
    check(parts)
    scale(parts.total).backward()
    for chunk in chunks:
        is_last = chunk is chunks[-1]
        alone = model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()
        with alone:
            chunk.pass_on(model, autocast, leaves, with_temperature=is_last)
    return parts.detach()


@dataclass(eq=False)
class _Chunk:
    """Some rows of a batch. The random states in which they were first embedded come back the second time."""

    rows: slice
    video: RegionBatch
    text: TextBatch
    may_trim: bool
    random_states: tuple[Tensor, Tensor | None] | None = None

    def embed(self, model: nn.Module, autocast: Callable[[], AbstractContextManager]) -> PairEmbedding:
        device = self.video.mask_BFR.device
        if self.random_states is None:
            on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
            self.random_states = (torch.get_rng_state(), on_device)
        else:
            torch.set_rng_state(self.random_states[0])
            if self.random_states[1] is not None:
                torch.cuda.set_rng_state(self.random_states[1], device)
        with autocast():
            return model(self.video[self.rows], self._text())

    def pass_on(
        self,
        model: nn.Module,
        autocast: Callable[[], AbstractContextManager],
        leaves: PairEmbedding,
        with_temperature: bool,
    ) -> None:
        """Embeds the rows with a graph and sends the gradients of ``leaves`` through it."""
        pairs = self.embed(model, autocast)
        tensors, grads = [], []
        for tensor, leaf in zip(_learning(pairs), _learning(leaves), strict=True):
            is_temperature = tensor is pairs.temperature
            if leaf.grad is None or not tensor.requires_grad or (is_temperature and not with_temperature):
                continue
            tensors.append(tensor)
            grads.append(leaf.grad if is_temperature else leaf.grad[self.rows][:, : tensor.shape[1]])
        torch.autograd.backward(tensors, grads)

    def _text(self) -> TextBatch:
        """The sentences, without the columns that are padding in all of them, where these are not part of the form."""
        text = self.text[self.rows]
        return text.trimmed() if self.may_trim else text


def _leaves(chunks: list[PairEmbedding]) -> PairEmbedding:
    """The embeddings of all chunks as leaves that collect gradients."""
    joined = joined_pairs(chunks)
    # New tensors throughout: a single chunk's are its own, and a temperature that is learnt is a parameter's.
    text = TextEmbedding(joined.text.cls_CE.detach(), joined.text.words_CLE.detach(), joined.text.mask_CL)
    joined = PairEmbedding(joined.video, text, joined.temperature.clone())
    for tensor in _learning(joined):
        tensor.requires_grad_()
    return joined


def _learning(pairs: PairEmbedding) -> Iterator[Tensor]:
    yield from (pairs.video.cls_BE, pairs.video.regions_BNE, pairs.text.cls_CE, pairs.text.words_CLE)
    yield pairs.temperature
