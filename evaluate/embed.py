"""Shards and sentences through a model: one vector set a video and one a sentence, every item exactly once.

Letters: B videos, C sentences, U distinct sentences, F frames, R regions a frame, N = F*R, L words, E joint width.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluate.embedding.blocks import SENTENCES_A_BLOCK, clips_a_block
from evaluate.embedding.clips import clip_columns, encode_clips
from evaluate.embedding.sentences import encode_sentences, sentence_columns
from evaluate.embedding.store import Progress, Store
from evaluate.stored import StoredShards
from train.model import RegionTextModel


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
    """All videos in the asked order: cls_BE, regions_BNE (both L2-normalised, float32, CPU) and mask_BN.

    regions_BNE is mapped from a file, and takes memory only where it is read.
    """

    ids: tuple[str, ...]
    cls_BE: Tensor
    regions_BNE: Tensor
    mask_BN: Tensor
    looks: tuple[Looks, ...]


@dataclass(frozen=True, eq=False)
class TextTable:
    """Distinct sentences, each embedded once, so that repeated ones tie exactly. In the order in which they first come.

    row_C: the row of each asked sentence. words: one [L_u, E] tensor of real words a distinct sentence. In the release
    form of the local similarity, where the padding counts, padded_ULE has all positions and mask_UL says which of them
    are attended to; else they are None. words and padded_ULE are mapped from files.
    """

    row_C: NDArray[np.int64]
    cls_UE: Tensor
    words: tuple[Tensor, ...]
    tokens: tuple[tuple[str, ...], ...]
    padded_ULE: Tensor | None = None
    mask_UL: Tensor | None = None


def embed_videos(
    model: RegionTextModel,
    shards: StoredShards,
    ids: Sequence[str],
    *,
    frames: int,
    regions: int,
    batch_size: int | None = None,
    store: Store | None = None,
    progress: Progress = lambda done, of: None,
) -> VideoTable:
    """The vectors of the videos ``ids``, from the middles of ``frames`` equal segments of their stored frames.

    All ranks of the ``store`` call it alike, each makes some of the vectors, and all get all; without a store nothing
    is kept. ``batch_size`` clips go through the model at once (None: as ``clips_a_block`` says); which, does not change
    the vectors beyond rounding.

    Raises:
        InputError: a shard breaks the contract, or one of the ids is not in the shards.
    """
    order = shards.in_order(ids)
    if len(order) != len(ids):
        raise ValueError(f"{len(ids) - len(order)} of the ids are given twice")
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    tars = sorted({shards.shard_of[identifier] for identifier in order})
    made_of = {
        "shards": [(tar.name, shards.sha256[tar]) for tar in tars],
        "ids": list(ids),
        "sizes": (frames, regions, model.config.box_dim),
        **_computed_in(model),
    }
    model.eval()
    with _stored(store) as place:
        found = place.table(
            "videos",
            made_of,
            clip_columns(model.config.joint_dim, frames, regions),
            np.array([row_of[identifier] for identifier in order], np.int64),
            batch_size or clips_a_block(frames, regions),
            lambda blocks: encode_clips(model, shards, [order[b.start : b.stop] for b in blocks], frames, regions),
            progress,
        )
    return VideoTable(tuple(ids), found["cls"], found["regions"], found["mask"].bool(), tuple(_looks(found)))


def embed_sentences(
    model: RegionTextModel,
    sentences: Sequence[str],
    *,
    batch_size: int | None = None,
    store: Store | None = None,
    progress: Progress = lambda done, of: None,
) -> TextTable:
    """The vectors of the sentences, as ``embed_videos`` does it. Blocks hold sentences of similar length, so that
    padding costs little.

    Raises:
        ValueError: the model is in the release form and does not pad all sentences alike.
    """
    distinct = list(dict.fromkeys(sentences))
    row_of = {sentence: row for row, sentence in enumerate(distinct)}
    order = sorted(distinct, key=len)
    with_padding = model.loss.local_form == "release"
    model.eval()
    with _stored(store) as place:
        found = place.table(
            "sentences",
            {"sentences": distinct, **_computed_in(model)},
            sentence_columns(model.config.joint_dim, with_padding),
            np.array([row_of[sentence] for sentence in order], np.int64),
            batch_size or SENTENCES_A_BLOCK,
            lambda blocks: encode_sentences(model, [order[b.start : b.stop] for b in blocks]),
            progress,
        )
    pieces = (bytes(text.numpy()) for text in found["pieces"].split(found["piece_bytes"].tolist()))
    return TextTable(
        np.array([row_of[sentence] for sentence in sentences], np.int64),
        found["cls"],
        found["words"].split(found["lengths"].tolist()),
        tuple(tuple(json.loads(text)) for text in pieces),
        *(_positions(found) if with_padding else ()),
    )


def _computed_in(model: RegionTextModel) -> dict[str, str]:
    dtype = next((str(parameter.dtype) for parameter in model.parameters()), "")
    return {"device": torch.device(model.device).type, "dtype": dtype}


@contextmanager
def _stored(store: Store | None) -> Iterator[Store]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Store(Path(folder), "", lasting=False)


def _looks(found: dict[str, Tensor]) -> Iterator[Looks]:
    columns = (found[name].numpy() for name in ("boxes", "labels", "timestamps", "frame_size"))
    for boxes_FR4, labels_FR, timestamps_F, size in zip(*columns, strict=True):
        times = tuple(timestamps_F[~np.isnan(timestamps_F)].tolist())
        yield Looks(boxes_FR4, labels_FR, times, (int(size[0]), int(size[1])))


def _positions(found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    widths = sorted(set(found["positions"].tolist()))
    if len(widths) > 1:
        raise ValueError(f"sentences are padded to {widths} positions; the release form needs them alike")
    padded = found["padded"]
    return padded.view(-1, widths[0], padded.shape[1]), found["padded_mask"].view(-1, widths[0]).bool()
