"""Sentences laid end to end in rows of one width, so that hardly any padding is encoded.

Letters: C sentences, L word tokens, P rows of W tokens.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_WIDTHS = (1, 2, 3)  # rows as wide as so many of the longest sentence; wider ones would cost more in attention


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
    int64 [P, W], its position in its sentence. sentence_PW: int64 [P, W], its sentence; -1 at padding.
    """

    source_PW: Tensor
    position_PW: Tensor
    sentence_PW: Tensor

    @classmethod
    def of(cls, lengths_C: Sequence[int], padded_length: int) -> Packing:
        """The one of the least rows times width, of a few widths; sentences were padded to ``padded_length``."""
        longest = max(lengths_C)
        plans = [(pack_rows(lengths_C, longest * times), longest * times) for times in _WIDTHS]
        rows, width = min(plans, key=lambda plan: (len(plan[0]) * plan[1], plan[1]))
        source, position, sentence = (torch.full((len(rows), width), fill) for fill in (0, 0, -1))
        for row, sentences in enumerate(rows):
            start = 0
            for c in sentences:
                place = slice(start, start + lengths_C[c])
                position[row, place] = torch.arange(lengths_C[c])
                source[row, place] = position[row, place] + c * padded_length
                sentence[row, place] = c
                start = place.stop
        return cls(source, position, sentence)

    def to(self, device: torch.device) -> Packing:
        """The same on another device."""
        return Packing(*(t.to(device, non_blocking=True) for t in (self.source_PW, self.position_PW, self.sentence_PW)))

    def mask(self) -> Tensor:
        """Which tokens may attend to which: bool [P, 1, W, W]: those of one sentence, and padding to padding."""
        return (self.sentence_PW[:, :, None] == self.sentence_PW[:, None, :])[:, None]

    def take(self, tokens_CL: Tensor) -> Tensor:
        """Values [C, 1+L] in rows [P, W]."""
        return tokens_CL.flatten()[self.source_PW]

    def put_back(self, vectors_PWE: Tensor, sentences: int, padded_length: int) -> Tensor:
        """Vectors in rows back to [C, 1+L, E]; 0 where there was padding."""
        real_PW = self.sentence_PW >= 0
        out = vectors_PWE.new_zeros(sentences * padded_length, vectors_PWE.shape[-1])
        return out.index_copy(0, self.source_PW[real_PW], vectors_PWE[real_PW]).view(sentences, padded_length, -1)
