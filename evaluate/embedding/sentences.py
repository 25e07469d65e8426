"""Blocks of sentences through a model: the columns of the table of sentences.

Letters: C sentences, L words, E joint width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from evaluate.embedding.table_folder import Column
from train.model import RegionTextModel


def sentence_columns(width: int, with_padding: bool) -> dict[str, Column]:
    """Of a model whose joint width is ``width``; ``with_padding`` adds all positions, as the release form needs them.

    pieces: each sentence's word pieces, as JSON in UTF-8.
    """
    columns = {
        "cls": Column(row=(width,)),
        "lengths": Column(torch.int32),
        "words": Column(row=(width,), count="lengths"),
        "piece_bytes": Column(torch.int32),
        "pieces": Column(torch.uint8, count="piece_bytes"),
    }
    if with_padding:
        columns["positions"] = Column(torch.int32)
        columns["padded"] = Column(row=(width,), count="positions")
        columns["padded_mask"] = Column(torch.uint8, count="positions")
    return columns


@torch.inference_mode()
def encode_sentences(model: RegionTextModel, blocks: Sequence[Sequence[str]]) -> Iterator[dict[str, Tensor]]:
    """The columns of some blocks of sentences, one after the other.

    Raises:
        ValueError: a sentence has more word pieces than vectors.
    """
    for block in blocks:
        texts = list(block)
        found = model.encode_text(model.tokenizer(texts).to(model.device))
        pieces_C = model.tokenizer.words(texts)
        words_CLE, mask_CL = found.words_CLE.float().cpu(), found.mask_CL.cpu()
        count_C = torch.tensor([len(pieces) for pieces in pieces_C])
        if int(count_C.max()) > mask_CL.shape[1]:
            raise ValueError(f"{texts[int(count_C.argmax())]!r}: more word pieces than the {mask_CL.shape[1]} vectors")
        is_word_CL = mask_CL & (torch.arange(mask_CL.shape[1]) < count_C[:, None])  # the release form counts [SEP] too
        written = [_written(*row) for row in zip(pieces_C, is_word_CL.tolist(), strict=True)]
        columns = {
            "cls": found.cls_CE.float().cpu(),
            "lengths": is_word_CL.sum(1, dtype=torch.int32),
            "words": words_CLE[is_word_CL],
            "piece_bytes": torch.tensor([len(text) for text in written], dtype=torch.int32),
            "pieces": torch.from_numpy(np.frombuffer(b"".join(written), np.uint8).copy()),
        }
        if model.loss.local_form == "release":
            columns["positions"] = torch.full((len(texts),), mask_CL.shape[1], dtype=torch.int32)
            columns["padded"] = words_CLE.flatten(0, 1)
            columns["padded_mask"] = mask_CL.flatten().to(torch.uint8)
        yield columns


def _written(pieces: Sequence[str], is_word_L: Sequence[bool]) -> bytes:
    chosen = [piece for piece, is_word in zip(pieces, is_word_L, strict=False) if is_word]
    return json.dumps(chosen, ensure_ascii=False).encode()
