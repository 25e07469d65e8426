from __future__ import annotations

from pathlib import Path

from data_specs.outstanding import outstanding_failures
from data_specs.shards import CommitRecord, iterate_keys
from tests.extract import made


def test_later_rounds_count(tmp_path: Path) -> None:
    series = [
        made.shard(tmp_path, "train-00000", ["a"], [("b", "timeout"), ("c", "timeout"), ("d", "empty")]),
        made.shard(tmp_path, "train-r1-00000", ["b"], [("c", "decode_error")]),
        made.shard(tmp_path, "train-r2-00000", [], [("c", "killed_worker")]),
    ]
    asked = []

    def extracted(record: CommitRecord) -> list[str]:
        asked.append(record.name)
        return list(iterate_keys(tmp_path / record.shard))

    found = outstanding_failures(series, extracted)
    assert {name: failure.reason.value for name, failure in found.items()} == {"c": "killed_worker", "d": "empty"}
    assert asked == ["train-r1-00000", "train-r2-00000"]
    assert set(outstanding_failures(series[:1], extracted)) == {"b", "c", "d"}
