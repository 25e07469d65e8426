"""Shards and sentences through a model: one vector set a video and one a sentence, every item exactly once.

Letters: B videos, C sentences, F frames, R regions a frame, N = F*R, L words, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs.errors import InputError
from data_specs.samples import Sample
from evaluate.stored import StoredShards
from train.batch import collate_regions, select_frames
from train.model import RegionTextModel

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Looks:
    """Where the regions of one video are, for drawing them; row n of its vectors is frame n // R, region n % R.

    boxes_FR4: x1, y1, x2, y2 as fractions of width and height. labels_FR: detector class, -1 for none.
    timestamps: seconds, F of them. frame_size: (height, width) in pixels.
    """

    boxes_FR4: NDArray[np.float32]
    labels_FR: NDArray[np.int32]
    timestamps: tuple[float, ...]
    frame_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class VideoTable:
    """All videos in the asked order: cls_BE, regions_BNE (both L2-normalised, float32, CPU) and mask_BN."""

    ids: tuple[str, ...]
    cls_BE: Tensor
    regions_BNE: Tensor
    mask_BN: Tensor
    looks: tuple[Looks, ...]


@dataclass(frozen=True, eq=False)
class PaddedWords:
    """What the release's form compares: words_ULE [U, L, E] with the padding's own vectors, mask_UL true at tokens."""

    words_ULE: Tensor
    mask_UL: Tensor


@dataclass(frozen=True, eq=False)
class TextTable:
    """Distinct sentences, each embedded once, so that repeated ones tie exactly.

    row_C: the row of each asked sentence. words: one [L_u, E] tensor of real words a distinct sentence. padded: all of
    them and what follows, where the model's similarity is in the release's form.
    """

    row_C: NDArray[np.int64]
    cls_UE: Tensor
    words: tuple[Tensor, ...]
    tokens: tuple[tuple[str, ...], ...]
    padded: PaddedWords | None = None


@torch.inference_mode()
def embed_videos(
    model: RegionTextModel,
    shards: StoredShards,
    ids: Sequence[str],
    *,
    frames: int,
    regions: int,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda done: None,
) -> VideoTable:
    """The vectors of the videos ``ids``, from the middles of ``frames`` equal segments of their stored frames.

    Raises:
        InputError: a shard breaks the contract, or one of the ids is not in the shards.
    """
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    absent = [identifier for identifier in ids if identifier not in shards.shard_of]
    if absent:
        raise InputError(f"{shards.folder}: no sample of {absent[0]!r} and {len(absent) - 1} more")
    parts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    looks: dict[int, Looks] = {}
    model.eval()
    for samples in batches(shards.samples(frozenset(row_of)), batch_size):
        batch = collate_regions([s.regions for s in samples], frames, regions, model.config.box_dim, None)
        found = model.encode_video(batch.to(model.device))
        for i, sample in enumerate(samples):
            row = row_of[sample.id]
            parts[row] = (found.cls_BE[i].float().cpu(), found.regions_BNE[i].float().cpu(), found.mask_BN[i].cpu())
            looks[row] = _looks(sample, frames, regions)
        progress(len(samples))
    cls, region, mask = (torch.stack(column) for column in zip(*(parts[row] for row in range(len(ids))), strict=True))
    return VideoTable(tuple(ids), cls, region, mask, tuple(looks[row] for row in range(len(ids))))


@torch.inference_mode()
def embed_sentences(model: RegionTextModel, sentences: Sequence[str], *, batch_size: int = 64) -> TextTable:
    """The vectors of the sentences. Batches hold sentences of similar length, so that padding costs little."""
    distinct = list(dict.fromkeys(sentences))
    row_of = {sentence: row for row, sentence in enumerate(distinct)}
    model.eval()
    cls: dict[int, Tensor] = {}
    words: dict[int, Tensor] = {}
    tokens: dict[int, tuple[str, ...]] = {}
    keeps_padding = model.loss.local_form == "release"
    whole: dict[int, tuple[Tensor, Tensor]] = {}
    for rows in batches(sorted(range(len(distinct)), key=lambda row: len(distinct[row])), batch_size):
        texts = [distinct[row] for row in rows]
        found = model.encode_text(model.tokenizer(texts).to(model.device))
        for i, (row, pieces) in enumerate(zip(rows, model.tokenizer.words(texts), strict=True)):
            real = found.mask_CL[i].cpu()
            cls[row] = found.cls_CE[i].float().cpu()
            if keeps_padding:
                whole[row] = found.words_CLE[i].float().cpu(), real
                real = real & (torch.arange(len(real)) < len(pieces))  # without [SEP]
            words[row] = found.words_CLE[i].float().cpu()[real]
            tokens[row] = tuple(piece for piece, is_word in zip(pieces, real.tolist(), strict=False) if is_word)
            if len(tokens[row]) != len(words[row]):
                raise ValueError(f"{len(tokens[row])} word pieces for {len(words[row])} vectors of {distinct[row]!r}")
    order = range(len(distinct))
    return TextTable(
        np.array([row_of[sentence] for sentence in sentences], np.int64),
        torch.stack([cls[row] for row in order]),
        tuple(words[row] for row in order),
        tuple(tokens[row] for row in order),
        PaddedWords(*(torch.stack(part) for part in zip(*(whole[row] for row in order), strict=True)))
        if whole
        else None,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` consecutive items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _looks(sample: Sample, frames: int, regions: int) -> Looks:
    """Boxes and labels of the regions that ``collate_regions`` takes, padded as it pads."""
    chosen = select_frames(len(sample.timestamps), frames, None)
    r = min(regions, sample.regions.boxes.shape[1])
    boxes_FR4 = np.zeros((frames, regions, 4), np.float32)
    labels_FR = np.full((frames, regions), -1, np.int32)
    boxes_FR4[: len(chosen), :r] = sample.regions.boxes[chosen, :r, :4]
    labels_FR[: len(chosen), :r] = sample.regions.labels[chosen, :r]
    return Looks(boxes_FR4, labels_FR, tuple(sample.timestamps[i] for i in chosen), sample.frame_size)
