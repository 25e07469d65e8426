"""Coverage against a slow obvious count, with rounds of retries, and of a damaged folder."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.failures import Reason
from data_specs.manifest import Item, Manifest, ManifestInfo, write_manifest
from data_specs.shards import ShardError
from extract import coverage as module
from extract.coverage import Coverage, measure_coverage
from tests.extract import made

REASONS = [reason.value for reason in Reason]


def manifest_of(folder: Path, ids: dict[str, str]) -> Manifest:
    items = [Item(name, f"{name}.mp4", split) for name, split in ids.items()]
    return write_manifest(folder / "m.parquet", items, ManifestInfo("made"))


def test_against_a_slow_count(tmp_path: Path) -> None:
    rng = random.Random(3)
    ids = {f"v{number}": rng.choice(["train", "val"]) for number in range(60)}
    fate: dict[str, str] = {}  # the slow obvious version: what was last said of an id
    folder = tmp_path / "shards"
    for split in ("train", "val"):
        tried = [name for name in ids if ids[name] == split and rng.random() < 0.9]
        for series in ("", "-r1", "-r2", "-r10"):
            drawn = {name: rng.choice(["", *REASONS]) for name in tried}
            fate |= drawn
            failed = [(name, reason) for name, reason in drawn.items() if reason]
            made.shard(folder, f"{split}{series}-00000", [name for name in tried if not drawn[name]], failed)
            tried = [name for name in tried if drawn[name]]
    found = measure_coverage(folder, manifest_of(tmp_path, ids))
    for split in ("train", "val"):
        said = [fate.get(name) for name in ids if ids[name] == split]
        assert found.splits[split].expected == len(said)
        assert found.splits[split].extracted == said.count("")
        assert found.splits[split].reasons == Counter(reason for reason in said if reason)
        assert found.splits[split].pending == said.count(None)
    assert [f.id for f in found.failures] == [name for name in ids if fate.get(name)]
    assert {f.id: f.reason.value for f in found.failures} == {name: fate[name] for name in ids if fate.get(name)}
    assert not found.complete


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "shards"
    made.shard(out, "train-00000", ["a", "b"], [("c", "timeout")])
    made.shard(out, "test-00000", ["t"])
    return out


def test_a_retry_makes_it_complete(folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, {"a": "train", "b": "train", "c": "train", "t": "test"})
    before = measure_coverage(folder, manifest)
    assert (before.complete, before.splits["train"].reasons) == (False, {"timeout": 1})
    made.shard(folder, "train-r1-00000", ["c"])
    after = measure_coverage(folder, manifest)
    assert after.complete and after.failures == () and after.splits["train"].extracted == 3


def test_one_split_and_what_the_manifest_does_not_have(folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, {"a": "train", "t": "test"})
    found = measure_coverage(folder, manifest, "test")
    assert list(found.splits) == ["test"] and found.splits["test"].extracted == 1
    assert sorted(found.foreign) == ["b", "c"]
    with pytest.raises(InputError, match="did you mean test"):
        measure_coverage(folder, manifest, "tests")


def test_processes_find_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of(tmp_path, {"a": "train", "b": "train", "c": "train", "t": "test"})
    monkeypatch.setattr(module, "_HERE_BELOW_SHARDS", 0)
    seen: list[None] = []
    found: Coverage = measure_coverage(folder, manifest, None, 2, lambda: seen.append(None))
    assert found == measure_coverage(folder, manifest) and len(seen) == 2


def test_a_damaged_folder(folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, {"a": "train"})
    made.shard(folder, "val-00000", ["b"])
    with pytest.raises(ShardError, match=r"'b' stands in another shard too \(train-00000.tar\)"):
        measure_coverage(folder, manifest)
    tar = folder / "val-00000.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(ShardError, match=r"val-00000.tar: not a whole tar"):
        measure_coverage(folder, manifest)
    tar.unlink()
    with pytest.raises(ShardError, match="no such shard"):
        measure_coverage(folder, manifest)
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(InputError, match="python -m extract run"):
            measure_coverage(nothing, manifest)
