"""How items are cut and shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evaluate.embedding.blocks import TOKENS_A_BLOCK, clips_a_block, cut, share
from train.distributed import Ranks


@given(count=st.integers(0, 300), size=st.integers(1, 9))
def test_ranks_share_all_blocks_once_and_evenly(count: int, size: int) -> None:
    shares = [share(count, Ranks(rank, size)) for rank in range(size)]
    assert [block for own in shares for block in own] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(count=st.integers(0, 50), size=st.integers(1, 9))
def test_blocks_are_the_items_in_order(count: int, size: int) -> None:
    blocks = cut(range(count), size)
    assert [item for block in blocks for item in block] == list(range(count))
    assert all(len(block) == size for block in blocks[:-1]) and all(blocks)


@given(frames=st.integers(1, 64), regions=st.integers(1, 200))
def test_a_block_is_bounded(frames: int, regions: int) -> None:
    clips = clips_a_block(frames, regions)
    assert clips == 1 or clips * (frames * regions + 1) <= TOKENS_A_BLOCK
