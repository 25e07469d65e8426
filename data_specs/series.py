"""Names of shards: ``{split}-{00000}`` of a run, ``{split}-r{r}-{00000}`` of its r-th round of retries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(r"(?P<split>[a-z]+)(?:-r(?P<round>[1-9]\d*))?-(?P<number>\d{5,})")


@dataclass(frozen=True, order=True)
class ShardName:
    """Ordered as the shards were made: the run's (round 0) first, then round after round of retries."""

    round: int
    split: str
    number: int

    @property
    def series(self) -> tuple[int, str]:
        """Of which shards it is one: of a split's run, or of one round of its retries."""
        return self.round, self.split

    def __str__(self) -> str:
        return f"{self.split}{f'-r{self.round}' if self.round else ''}-{self.number:05d}"


def parse_shard_name(name: str) -> ShardName | None:
    """What a shard's name (without ``.tar``) says; None where it is no name of a shard."""
    match = _NAME.fullmatch(name)
    return None if match is None else ShardName(int(match["round"] or 0), match["split"], int(match["number"]))


def in_series_order(names: Iterable[str]) -> list[str]:
    """Shard names (without ``.tar``) as their shards were made; what is no such name comes last, sorted."""
    return sorted(names, key=_place)


def _place(name: str) -> tuple[bool, ShardName | str]:
    found = parse_shard_name(name)
    return (found is None, found if found is not None else name)
