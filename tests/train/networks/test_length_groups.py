"""Groups of like length against every possible split."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from train.networks.length_groups import length_groups


def cost(groups: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(len(rows) * max(lengths[row] for row in rows) + overhead for rows in groups)


def cheapest(lengths: list[int], overhead: int) -> int:
    """Of all ways to cut the sorted sentences."""
    rows = sorted(range(len(lengths)), key=lengths.__getitem__)
    found = []
    for number in range(len(rows)):
        for cuts in combinations(range(1, len(rows)), number):
            borders = [0, *cuts, len(rows)]
            parts = [rows[a:b] for a, b in pairwise(borders)]
            found.append(cost(parts, lengths, overhead))
    return min(found)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 20))
def test_no_split_is_cheaper(lengths: list[int], overhead: int) -> None:
    groups = length_groups(lengths, overhead)
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    assert cost(groups, lengths, overhead) == cheapest(lengths, overhead)
    order = [row for rows in groups for row in rows]
    assert order == sorted(order, key=lambda row: (lengths[row], row))
    assert all(lengths[a[-1]] < lengths[b[0]] for a, b in pairwise(groups))


def test_a_group_must_be_worth_its_overhead() -> None:
    assert length_groups([9, 2, 2, 9, 2], overhead=20) == [[1, 2, 4], [0, 3]]  # 6 + 18 + 2 * 20 = 64 < 45 + 20 = 65
    assert length_groups([9, 2, 2, 9, 2], overhead=21) == [[1, 2, 4, 0, 3]]  # as cheap either way
    assert length_groups([5, 5, 5], overhead=0) == [[0, 1, 2]]
