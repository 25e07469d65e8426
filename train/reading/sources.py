"""The folders of shards that a configuration names, each checked against its index and its commit records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError, did_you_mean
from data_specs.location import AnyLocation, Location, is_local, store_errors
from data_specs.series import parse_shard_name
from data_specs.shard_index import ShardEntry, ShardIndex, read_index
from data_specs.shards import Provenance, committed
from train.config import DataConfig

_ALIKE = ("detector", "weights_sha256", "box_convention")
"""Of the provenance, what folders must share to be learnt from together; data set, sampling and frames may differ."""


@dataclass(frozen=True)
class Shard:
    """A committed tar: the number of samples it holds, its hash and its size in bytes."""

    path: Location
    samples: int
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Source:
    """One folder's shards, in the index's order. name: of the data set."""

    folder: Location
    name: str
    provenance: Provenance
    shards: tuple[Shard, ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples in each shard."""
        return np.array([shard.samples for shard in self.shards], np.int64)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that its shards are of."""
        names = (parse_shard_name(shard.path.name.removesuffix(".tar")) for shard in self.shards)
        return tuple(dict.fromkeys(name.split for name in names if name is not None))

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)


def open_sources(config: DataConfig) -> tuple[Source, ...]:
    """The folders of ``config.shards``, with the shards of its splits.

    Raises:
        InputError: no index, no such split, a shard that is not committed or not the one that the index lists, a
            folder named twice, or folders that were not made alike.
    """
    names = [str(f.resolve()) if is_local(f) else str(f).rstrip("/") for f in config.shards]
    if len(set(names)) < len(names):
        listed = ", ".join(map(str, config.shards))
        raise InputError(f"data.shards: {listed}: a folder is named twice, so its samples would count double")
    sources: list[Source] = []
    splits: set[str] = set()
    for folder in config.shards:
        try:
            with store_errors(folder):
                source, found = _open(folder, config.splits)
        except OSError as error:
            raise InputError(f"{folder}: cannot be read: {error}") from None
        sources.append(source)
        splits |= found
    for split in config.splits:
        if split not in splits:
            listed = ", ".join(map(str, config.shards))
            raise InputError(f"data.splits: no shard of split {split!r} in {listed}: {did_you_mean(split, splits)}")
    refuse_unlike(sources)
    return tuple(sources)


def has_splits(folders: Sequence[AnyLocation], splits: Sequence[str]) -> bool:
    """Whether each of the splits has a shard in one of the folders, by their indexes.

    Raises:
        InputError: a folder has no index.
    """
    found: set[str] = set()
    for folder in folders:
        with store_errors(folder):
            names = [parse_shard_name(entry.url.removesuffix(".tar")) for entry in read_index(folder).shardlist]
        found |= {name.split for name in names if name is not None}
    return found >= set(splits)


def _open(folder: Location, splits: Sequence[str]) -> tuple[Source, set[str]]:
    """One folder's shards of these splits, and the names of all splits that it has."""
    index = read_index(folder)
    shards: list[Shard] = []
    found: set[str] = set()
    for entry in index.shardlist:
        name = parse_shard_name(entry.url.removesuffix(".tar"))
        if name is None:
            raise InputError(f"{folder}: the index lists {entry.url!r}, which is no name of a shard")
        found.add(name.split)
        if name.split in splits:
            shards.append(_shard(folder, entry, index))
    return Source(folder, index.name, index.provenance, tuple(shards)), found


def _shard(folder: Location, entry: ShardEntry, index: ShardIndex) -> Shard:
    path = folder / entry.url
    record = committed(folder, entry.url.removesuffix(".tar"))
    if record is None or (record.sha256, record.num_samples) != (entry.sha256, entry.nsamples):
        raise InputError(
            f"{path}: cut, changed or not committed since the index was made; look with:"
            f" python -m extract verify {folder}, repair with: python -m extract run --out {folder}"
        )
    if record.provenance != index.provenance:
        raise InputError(f"{path}: made differently from what {folder / 'index.json'} says")
    resolved = path.resolve() if isinstance(path, Path) else path
    return Shard(resolved, record.num_samples, record.sha256, record.bytes)


def refuse_unlike(sources: Sequence[Source]) -> None:
    """Features of two detectors mean two different things, and one model cannot tell them apart.

    Raises:
        InputError: the folders were not made alike.
    """
    first = sources[0]
    for other in sources[1:]:
        one, two = first.provenance, other.provenance
        if one.feature_dim != two.feature_dim:
            widths = ", ".join(f"{source.folder}: {source.provenance.feature_dim}" for source in sources)
            raise InputError(f"shards: features differ in width: {widths}; train on one kind of them")
        unlike = [name for name in _ALIKE if getattr(one, name) != getattr(two, name)]
        if unlike:
            said = "; ".join(f"{name}: {getattr(one, name)!r} and {getattr(two, name)!r}" for name in unlike)
            raise InputError(
                f"shards: {first.folder} and {other.folder} were made differently ({said}), so one model cannot"
                " work with both; extract one of them again as the other was"
            )
