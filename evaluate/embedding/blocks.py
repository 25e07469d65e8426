"""Blocks: what goes through a model together, cut in the same way whoever makes it, and which rank makes which.

The last bits of a sum depend on what is computed beside it. Items therefore stand in an order of their own (videos as
in the shards, sentences by length), and blocks are cut from it before ranks share them: vectors and answers are the
same to the last bit for any number of ranks. (With the same number of threads a rank, on the same kind of device.)

A task that sends clips through a model itself does it so, on every rank, and has all answers on the first one::

    blocks = cut(stored.in_order(ids), clips_a_block(frames, regions))
    own = [blocks[i] for i in share(len(blocks), ranks)]
    answers = ranks.agree(lambda: [answer for samples in stored.sample_blocks(own) for answer in model(samples)])
    found = ranks.to_first(torch.tensor(answers))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from train.distributed import Ranks

T = TypeVar("T")
TOKENS_A_BLOCK = 4096
SENTENCES_A_BLOCK = 128


def clips_a_block(frames: int, regions: int) -> int:
    """How many clips go through a model at once: about ``TOKENS_A_BLOCK`` tokens, [CLS] among them; at least 1."""
    return max(1, TOKENS_A_BLOCK // (frames * regions + 1))


def cut(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Runs of ``size`` consecutive items; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def share(count: int, ranks: Ranks) -> range:
    """This rank's of ``count`` blocks: a contiguous run, so that it opens few shards. The ranks' runs, in order of
    rank, are all blocks in order."""
    return range(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)
