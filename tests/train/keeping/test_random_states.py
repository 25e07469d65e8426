"""Random states: taken, put back, carried as JSON, and made for ranks that were not there before."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from train.keeping.random_states import RandomStates, of_rank


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    state = RandomStates.capture()
    yield
    state.restore()


def draw() -> tuple[Any, ...]:
    return (
        random.random(), random.gauss(), float(np.random.rand()), float(np.random.randn()),
        torch.rand(3).tolist(), torch.randn(17).tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("drawn", [0, 1, 700])
def test_every_generator_goes_on_where_it_was(drawn: int) -> None:
    random.seed(drawn), np.random.seed(drawn), torch.manual_seed(drawn)
    for _ in range(drawn):
        random.gauss(), np.random.randn(), torch.rand(())
    before = RandomStates.capture()
    carried = RandomStates.from_json(json.loads(json.dumps(before.to_json())))
    assert carried == before
    first = draw()
    assert draw() != first
    carried.restore()
    assert draw() == first


def test_ranks_beyond_the_saved_ones_are_seeded() -> None:
    saved = [RandomStates.seeded(9, rank, 0) for rank in range(2)]
    grown = [of_rank(saved, rank, seed=5, step=30) for rank in range(4)]
    assert grown[:2] == saved
    assert grown[2:] == [RandomStates.seeded(5, 2, 30), RandomStates.seeded(5, 3, 30)]
    others = [RandomStates.seeded(5, 2, 31), RandomStates.seeded(6, 2, 30)]
    for part in ("cpu", "cuda", "python", "numpy"):
        assert len({getattr(state, part) for state in grown + others}) == 6, part
    for state in grown:
        assert RandomStates.from_json(state.to_json()) == state
        state.restore()


def changed(tree: Any, *path: Any, to: Any) -> Any:
    copy = json.loads(json.dumps(tree))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to(node[path[-1]]) if isinstance(to, Callable) else to
    return copy


@pytest.mark.parametrize(
    "hostile",
    [
        lambda tree: None,
        lambda tree: [],
        lambda tree: {},
        lambda tree: tree | {"more": 1},
        lambda tree: changed(tree, "cpu", to=5),
        lambda tree: changed(tree, "cpu", to="§"),
        lambda tree: changed(tree, "cpu", to=""),
        lambda tree: changed(tree, "cpu", to=lambda text: text[:-4]),
        lambda tree: changed(tree, "cuda", to="AAAA"),
        lambda tree: changed(tree, "cuda", to=base64.b64encode(bytes(8) + b"\x01" + bytes(7)).decode()),
        lambda tree: changed(tree, "python", to={}),
        lambda tree: changed(tree, "python", 0, to=10**400),
        lambda tree: changed(tree, "python", 1, to=base64.b64encode(b"\xff" * 2500).decode()),
        lambda tree: changed(tree, "python", 1, to=lambda text: text[:-8]),
        lambda tree: changed(tree, "python", 2, to="x"),
        lambda tree: changed(tree, "numpy", to=[1, 2]),
        lambda tree: changed(tree, "numpy", 0, to="PCG64"),
        lambda tree: changed(tree, "numpy", 2, to=10**30),
        lambda tree: changed(tree, "numpy", 2, to=True),
        lambda tree: changed(tree, "numpy", 3, to={}),
        lambda tree: changed(tree, "numpy", 4, to=float("nan")),
        lambda tree: changed(tree, "numpy", 4, to=10**400),
    ],
)
def test_what_is_no_state_is_a_value_error(hostile: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="random state"):
        RandomStates.from_json(hostile(RandomStates.capture().to_json()))
