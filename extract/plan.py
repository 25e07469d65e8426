"""Which item goes into which shard, in which order: a pure function of manifest, split and videos a shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from data_specs.manifest import SPLITS, Item, Manifest
from data_specs.series import ShardName


@dataclass(frozen=True)
class ShardPlan:
    """The items of one shard, in order."""

    name: str
    items: tuple[Item, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over everything of the items that reaches the shard; another hash means another shard."""
        text = json.dumps([asdict(item) for item in self.items], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


class PlannedShards:
    """Shards by name, in order, as rows of a manifest; items are made when a shard's turn comes.

    Row numbers are all that is held, so 2.5 million items cost little.
    """

    def __init__(self, manifest: Manifest, rows: Iterable[tuple[str, Sequence[int]]]) -> None:
        self._manifest = manifest
        self._rows = dict(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ShardPlan]:
        return self.shards(self._rows)

    def shards(self, names: Container[str]) -> Iterator[ShardPlan]:
        """Those of these names, in order."""
        for name, rows in self._rows.items():
            if name in names:
                yield ShardPlan(name, tuple(self._manifest.take(rows)))

    def items_of(self, names: Container[str]) -> int:
        """How many items the shards of these names have."""
        return sum(len(rows) for name, rows in self._rows.items() if name in names)

    @property
    def num_items(self) -> int:
        return self.items_of(self._rows)

    @property
    def names(self) -> list[str]:
        """Shard names, in order."""
        return list(self._rows)


class Plan(PlannedShards):
    """Shards ``{split}-{00000}`` of at most ``videos_per_shard`` items each, in the manifest's order.

    Raises:
        InputError: the manifest has no row of the split.
        ValueError: ``videos_per_shard`` is below 1.
    """

    def __init__(self, manifest: Manifest, split: str | None, videos_per_shard: int) -> None:
        if videos_per_shard < 1:
            raise ValueError(f"videos_per_shard is {videos_per_shard}, at least 1 is needed")
        counts = manifest.counts()
        splits = [split] if split is not None else [name for name in SPLITS if counts.get(name)]
        planned: list[tuple[str, Sequence[int]]] = []
        for name in splits:
            rows = manifest.rows_of(name)
            chunks = range(0, len(rows), videos_per_shard)
            planned += [(str(ShardName(0, name, n)), rows[at : at + videos_per_shard]) for n, at in enumerate(chunks)]
        super().__init__(manifest, planned)
