"""What of a manifest is in the shards: expected, extracted, failed by reason, and not yet tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.failures import Failure
from data_specs.manifest import Manifest
from data_specs.shards import CommitRecord, ShardError, iterate_keys


@dataclass
class SplitCoverage:
    """Counts of one split; ``extracted + failed + pending == expected``."""

    expected: int = 0
    extracted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(self.reasons.values())

    @property
    def pending(self) -> int:
        return self.expected - self.extracted - self.failed


@dataclass(frozen=True)
class Coverage:
    """By split, and every failure. ``foreign``: ids in the shards that the manifest does not have."""

    splits: dict[str, SplitCoverage]
    failures: tuple[Failure, ...]
    foreign: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True when every row of the manifest is in the shards and nothing else is."""
        return not self.foreign and all(split.extracted == split.expected for split in self.splits.values())

    def as_dict(self) -> dict:
        """The same, for JSON."""
        return {
            "splits": {
                name: {
                    "expected": split.expected,
                    "extracted": split.extracted,
                    "failed": dict(sorted(split.reasons.items())),
                    "pending": split.pending,
                }
                for name, split in self.splits.items()
            },
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "foreign": list(self.foreign),
        }


def measure_coverage(
    folder: Path, records: Iterable[CommitRecord], manifest: Manifest, split: str | None = None
) -> Coverage:
    """Compares a folder of shards with a manifest; the ids are read from the tars, not taken on trust.

    split: only this one; None: all.

    Raises:
        InputError: the manifest has no such split.
        ShardError: a tar is cut or absent, or two hold the same id.
    """
    if split is not None:
        manifest.rows_of(split)
    split_of = dict(zip(manifest.table["id"].to_pylist(), manifest.table["split"].to_pylist(), strict=True))
    splits = {name: SplitCoverage(expected=count) for name, count in sorted(manifest.counts().items())}
    if split is not None:
        splits = {split: splits[split]}
    failures: list[Failure] = []
    foreign: list[str] = []
    seen: set[str] = set()
    for record in records:
        for identifier in iterate_keys(folder / record.shard):
            if identifier in seen:
                raise ShardError(f"{folder / record.shard}: {identifier!r} stands in another shard too")
            seen.add(identifier)
            if identifier not in split_of:
                foreign.append(identifier)
            elif split_of[identifier] in splits:
                splits[split_of[identifier]].extracted += 1
        for failure in record.failures:
            if failure.id not in split_of:
                foreign.append(failure.id)
            elif split_of[failure.id] in splits:
                failures.append(failure)
                splits[split_of[failure.id]].reasons[failure.reason.value] += 1
    return Coverage(splits, tuple(failures), tuple(foreign))
