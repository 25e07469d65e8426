from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.errors import InputError
from data_specs.manifest import SCHEMA, SPLITS, Manifest, ManifestInfo
from extract.plan import Plan


def manifest_of(splits: Sequence[str]) -> Manifest:
    rows = [
        {"id": f"v{i}", "path": f"{i}.mp4", "media": "video", "split": split, "captions": [f"c{i}"], "questions": []}
        for i, split in enumerate(splits)
    ]
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), ManifestInfo("test"))


@given(splits=st.lists(st.sampled_from(SPLITS), max_size=40), per_shard=st.integers(1, 7))
def test_every_item_is_in_exactly_one_shard_of_its_split(splits: list[str], per_shard: int) -> None:
    manifest = manifest_of(splits)
    plan = Plan(manifest, None, per_shard)
    shards = list(plan)
    planned = [item.id for shard in shards for item in shard.items]
    assert sorted(planned) == sorted(item.id for item in manifest)
    assert plan.num_items == len(planned)
    assert [shard.name for shard in shards] == plan.names
    assert len(set(plan.names)) == len(plan)
    for shard in shards:
        assert 1 <= len(shard.items) <= per_shard
        assert {item.split for item in shard.items} == {shard.name.rpartition("-")[0]}
    for split in set(splits):
        in_order = [item.id for shard in shards for item in shard.items if item.split == split]
        assert in_order == [item.id for item in manifest if item.split == split]


@given(splits=st.lists(st.sampled_from(SPLITS), min_size=1, max_size=20), per_shard=st.integers(1, 5))
def test_plan_is_a_pure_function(splits: list[str], per_shard: int) -> None:
    one, other = (Plan(manifest_of(splits), None, per_shard) for _ in range(2))
    assert [(s.name, s.hash) for s in one] == [(s.name, s.hash) for s in other]


def test_one_split_alone_has_the_same_shards_as_in_the_whole() -> None:
    manifest = manifest_of(["train", "test"] * 9)
    whole = {shard.name: shard.hash for shard in Plan(manifest, None, 4)}
    alone = {shard.name: shard.hash for shard in Plan(manifest, "test", 4)}
    assert alone.items() < whole.items()


def test_hash_sees_a_changed_caption() -> None:
    rows = manifest_of(["train"] * 3).table.to_pylist()
    before = [shard.hash for shard in Plan(manifest_of(["train"] * 3), None, 8)]
    rows[1]["captions"] = ["another"]
    changed = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), ManifestInfo("test"))
    assert [shard.hash for shard in Plan(changed, None, 8)] != before


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match=r"did you mean|known"):
        Plan(manifest_of(["train"]), "val", 4)
