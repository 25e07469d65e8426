"""Sentences laid end to end: each token once, nothing lost on the way back."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from train.networks.packing import Packing, pack_rows

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=30)


@given(LENGTHS, st.integers(12, 40))
def test_every_sentence_lies_in_one_row_that_holds_it(lengths: list[int], width: int) -> None:
    rows = pack_rows(lengths, width)
    assert sorted(c for row in rows for c in row) == list(range(len(lengths)))
    filled = sorted(sum(lengths[c] for c in row) for row in rows)
    assert filled[-1] <= width
    assert len(rows) == 1 or filled[0] + filled[1] > width  # no two rows would fit into one


@given(LENGTHS, st.integers(0, 5))
def test_what_is_taken_comes_back(lengths: list[int], more: int) -> None:
    padded = max(lengths) + more
    mask_CL = torch.arange(padded) < torch.tensor(lengths)[:, None]
    tokens_CL = torch.arange(1, len(lengths) * padded + 1).view(-1, padded)
    packing = Packing.of(lengths, padded)
    taken_PW = packing.take(tokens_CL)
    assert taken_PW.numel() <= mask_CL.numel()
    assert torch.equal(packing.place_T, (packing.sentence_PW.flatten() >= 0).nonzero()[:, 0])
    back_CLE = packing.put_back(taken_PW[..., None], *mask_CL.shape)
    assert torch.equal(back_CLE[..., 0], tokens_CL * mask_CL)
    positions_CL = packing.put_back(packing.position_PW[..., None], *mask_CL.shape)[..., 0]
    assert torch.equal(positions_CL, torch.arange(padded) * mask_CL)
    assert packing.mask().any(-1).all()  # nobody attends to nothing
    assert int(packing.mask()[packing.sentence_PW[:, None] >= 0].sum()) == sum(n * n for n in lengths)


def test_no_shape_depends_on_values() -> None:
    """On a GPU such a shape waits for all that was queued; the meta device, without values, refuses it."""
    packing = Packing.of([3, 1, 2], 4).to(torch.device("meta"))
    taken_PW = packing.take(torch.empty(3, 4, device="meta"))
    assert packing.put_back(taken_PW[..., None].expand(-1, -1, 5), 3, 4).shape == (3, 4, 5)
    assert packing.mask().shape[0] == len(taken_PW)
