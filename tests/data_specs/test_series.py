from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.series import ShardName, in_series_order, parse_shard_name

NAMES = st.builds(ShardName, st.integers(0, 200), st.sampled_from(["train", "val", "test"]), st.integers(0, 200_000))


@given(NAMES)
def test_names_read_back(name: ShardName) -> None:
    assert parse_shard_name(str(name)) == name


def test_what_is_no_name() -> None:
    for text in ("train-r0-00001", "train-1", "retry-1", "train-r-00001", "Train-00001", "train-00001.tar", ""):
        assert parse_shard_name(text) is None


def test_rounds_come_in_the_order_of_their_numbers() -> None:
    run = ["test-00000", "train-00009", "train-00010", "train-100000"]
    expected = [*run, "test-r2-00000", "train-r2-00001", "train-r10-00000", "labels"]
    mixed = expected.copy()
    random.Random(0).shuffle(mixed)
    assert in_series_order(mixed) == expected


@pytest.mark.parametrize("name", ["train-00003", "train-r12-00003"])
def test_series_is_what_stands_before_the_last_dash(name: str) -> None:
    found = parse_shard_name(name)
    assert found is not None and name.rpartition("-")[0] == f"{found.split}{f'-r{found.round}' if found.round else ''}"
