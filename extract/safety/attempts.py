"""Which shards were begun and not finished: a mark beside the shard for as long as somebody works on it.

A mark that is still there when a shard is begun says that its last worker died in the middle of it. Nobody knows at
which item, so the shard is then done with care (``extract.safety.isolation``), and the mark notes the item in hand: one
that takes even the careful worker with it, or its node, is known the next time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.location import Location, fresh
from data_specs.shards import ShardError

_SUFFIX = ".begun"
_CLEAN = (InputError, ShardError, KeyboardInterrupt, GeneratorExit)


class WorkerLostError(ShardError):
    """A shard's workers died too often, or it never gets one; its mark stays, for the next run to know."""


class Mark:
    """The mark of one shard. died: an earlier worker left it. deaths: of careful workers, by the item in hand."""

    def __init__(self, place: Location) -> None:
        self._place = place
        self.died = place.exists()
        self.deaths: dict[str, int] = _read(place) if self.died else {}

    def set(self) -> None:
        """Puts the mark there, or leaves it as it is."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._place.touch()

    def enter(self, identifier: str) -> None:
        """Notes the item in hand: if this is the last that is heard of this worker, it died over it."""
        self._write({**self.deaths, identifier: self.deaths.get(identifier, 0) + 1})

    def leave(self) -> None:
        """The item in hand did no harm."""
        self._write(self.deaths)

    def take_away(self) -> None:
        self._place.unlink(missing_ok=True)

    def _write(self, deaths: dict[str, int]) -> None:
        atomic.write_text(self._place, json.dumps(deaths) if deaths else "")


@contextmanager
def begun(folder: Location, shard: str) -> Iterator[Mark]:
    """Marks a shard as begun for the length of the block.

    What is an error of the user's, or of the disk's, takes the mark away as success does: whoever says so is alive.
    """
    mark = Mark(folder / f".{shard}{_SUFFIX}")
    mark.set()
    try:
        yield mark
    except _CLEAN:  # a worker never raises that it was lost
        mark.take_away()
        raise
    mark.take_away()


def forget(folder: Location) -> None:
    """Takes every mark away, after workers were stopped that had done nothing wrong."""
    for mark in fresh(folder).glob(f".*{_SUFFIX}"):
        mark.unlink(missing_ok=True)


def _read(place: Location) -> dict[str, int]:
    with suppress(ValueError, AttributeError, OSError):  # empty, as it mostly is, or half of what was written
        return {str(name): int(count) for name, count in json.loads(place.read_bytes()).items()}
    return {}
