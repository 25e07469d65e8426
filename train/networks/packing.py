"""Sentences laid end to end in rows of one width, so that hardly any padding is encoded.

Letters: C sentences, L word tokens, P rows of W tokens, T real tokens of all sentences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

_WIDEST = 3  # rows are at most so many times as wide as the longest sentence; wider ones would cost in attention
_MANY = 128  # sentences; of so many few widths are tried, as any is filled well


def pack_rows(lengths_C: Sequence[int], width: int) -> list[list[int]]:
    """Which sentences lie in each row of ``width`` tokens, in order: best fit, longest first.

    It depends on nothing but the arguments. No sentence may be longer than ``width``.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # tokens left and row, ascending
    for sentence in sorted(range(len(lengths_C)), key=lambda c: (-lengths_C[c], c)):
        at = bisect_left(free, (lengths_C[sentence], 0))
        left, row = free.pop(at) if at < len(free) else (width, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(sentence)
        insort(free, (left - lengths_C[sentence], row))
    return rows


@dataclass(frozen=True, eq=False)
class Packing:
    """Where each token lies.

    source_PW: int64 [P, W], the place in the flattened [C, 1+L] that a token comes from; 0 at padding. position_PW:
    int64 [P, W], its position in its sentence. sentence_PW: int64 [P, W], its sentence; -1 at padding. place_T: int64
    [T], the places of the real tokens in the flattened [P, W], ascending.
    """

    source_PW: Tensor
    position_PW: Tensor
    sentence_PW: Tensor
    place_T: Tensor

    @classmethod
    def of(cls, lengths_C: Sequence[int], padded_length: int) -> Packing:
        """The one of the least rows times width, of a few widths; sentences were padded to ``padded_length``."""
        longest = max(lengths_C)
        step = longest if len(lengths_C) > _MANY else max(1, longest // 4)
        plans = [(pack_rows(lengths_C, width), width) for width in range(longest, _WIDEST * longest + 1, step)]
        rows, width = min(plans, key=lambda plan: (len(plan[0]) * plan[1], plan[1]))
        order, starts = [], []
        for row, sentences in enumerate(rows):
            order += sentences
            starts += accumulate((lengths_C[c] for c in sentences[:-1]), initial=row * width)
        sizes = torch.tensor([lengths_C[c] for c in order])
        sentence = torch.tensor(order).repeat_interleave(sizes)
        within = torch.arange(len(sentence)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        place = torch.tensor(starts).repeat_interleave(sizes) + within
        values = (sentence * padded_length + within, 0), (within, 0), (sentence, -1)
        return cls(*(_filled((len(rows), width), place, *value) for value in values), place)

    def to(self, device: torch.device) -> Packing:
        """The same on another device."""
        tensors = (self.source_PW, self.position_PW, self.sentence_PW, self.place_T)
        return Packing(*(tensor.to(device, non_blocking=True) for tensor in tensors))

    def mask(self) -> Tensor:
        """Which tokens may attend to which: bool [P, 1, W, W]: those of one sentence, and padding to padding."""
        return (self.sentence_PW[:, :, None] == self.sentence_PW[:, None, :])[:, None]

    def take(self, tokens_CL: Tensor) -> Tensor:
        """Values [C, 1+L] in rows [P, W]."""
        return tokens_CL.flatten()[self.source_PW]

    def put_back(self, vectors_PWE: Tensor, sentences: int, padded_length: int) -> Tensor:
        """Vectors in rows back to [C, 1+L, E]; 0 where there was padding.

        By places, not by a mask: a GPU would have to finish what it was given before it could say how many there are.
        """
        vectors_TE = vectors_PWE.flatten(0, 1).index_select(0, self.place_T)
        source_T = self.source_PW.flatten().index_select(0, self.place_T)
        out = vectors_PWE.new_zeros(sentences * padded_length, vectors_PWE.shape[-1])
        return out.index_copy(0, source_T, vectors_TE).view(sentences, padded_length, -1)


def _filled(shape_PW: tuple[int, int], place_T: Tensor, values: Tensor, elsewhere: int) -> Tensor:
    out = torch.full((shape_PW[0] * shape_PW[1],), elsewhere)
    out[place_T] = values
    return out.view(shape_PW)
