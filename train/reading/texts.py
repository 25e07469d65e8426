"""Which of a clip's texts a round takes, and the questions that are taken. Nothing here needs torch.

A clip's n texts are used evenly, without replacement: in a cycle each is taken equally often before any is taken once
more. With m of them a round, a cycle is n / gcd(n, m) rounds long: n rounds of one text, in which each has its turn.
The order within a cycle is ``(offset + stride * i) mod n``, with a stride that has no factor in common with n; both
come from a hash of seed, source, sample and cycle, so they are the same whoever reads the sample, and cost no time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from data_specs.manifest import Question
from data_specs.samples import Sample
from train.config import DataConfig


@dataclass(frozen=True)
class Asked:
    """An open-ended question about a clip of a batch: ``clip`` is the row of the batch's video tensors."""

    clip: int
    question: str
    answer: str


@dataclass(frozen=True)
class Texts:
    """Which texts of a source's clips a round takes: a caption each, or ``config.questions`` open-ended questions.

    Without a ``round_number``, as they stand: the first caption, or all open-ended questions.
    """

    config: DataConfig
    source: int
    round_number: int | None

    def captions(self, clip: Sample, number: int) -> list[str]:
        """Those of the clip with this number in its source; none where questions are taken."""
        if self.config.questions:
            return []
        if self.round_number is None:
            return [clip.captions[0]]
        count = min(len(clip.captions), self.config.captions or len(clip.captions))
        return [clip.captions[caption] for caption in self._in_turn(count, 1, number)]

    def asked(self, clip: Sample, number: int, row: int) -> list[Asked]:
        """The questions of that clip, which is in this row of its batch; none where captions are taken."""
        if not self.config.questions:
            return []
        found = _open_ended(clip.questions)
        taken = self._in_turn(len(found), self.config.questions, number)
        return [Asked(row, found[question].question, found[question].answer) for question in taken]

    def lacking(self, clip: Sample) -> str:
        """What a clip would have to have and has not, and the way out; empty if it has all.

        A clip that asks nothing lacks nothing: data sets ask about some of their clips (MSRVTT-QA about two in three of
        those that 1k-A trains on).
        """
        if self.config.questions or clip.captions:
            return ""
        out = (
            "set data.questions=1 to take questions" if _open_ended(clip.questions) else "give others with data.shards"
        )
        return f"caption, so there is nothing to learn from it; {out}"

    def _in_turn(self, texts: int, most: int, number: int) -> list[int]:
        if self.round_number is None:
            return list(range(texts))
        return in_turn(texts, most, self.round_number, self.config.seed, self.source, number)


def in_turn(texts: int, most: int, round_number: int, seed: int, source: int, sample: int) -> list[int]:
    """Which of a sample's ``texts`` texts a round takes: ``most`` of them, all different, or all where there are fewer.

    Rounds are counted from 0 through all epochs; ``sample`` is its number in its source.
    """
    if texts <= most:
        return list(range(texts))
    cycle, place = divmod(round_number, texts // math.gcd(texts, most))
    digest = blake2b(repr((seed, source, sample, cycle)).encode(), digest_size=16).digest()
    rest, offset = divmod(int.from_bytes(digest, "little"), texts)
    strides = _strides(texts)
    stride = strides[rest % len(strides)]
    return [(offset + stride * (place * most + number)) % texts for number in range(most)]


def _open_ended(questions: Sequence[Question]) -> list[Question]:
    return [question for question in questions if not question.options]


@lru_cache
def _strides(texts: int) -> tuple[int, ...]:
    """Steps that lead through all of so many texts before they come back to one."""
    return tuple(stride for stride in range(1, texts) if math.gcd(stride, texts) == 1)
