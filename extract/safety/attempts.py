"""Which shards were begun and not finished: a mark beside the shard for as long as somebody works on it.

A mark that is still there when a shard is begun says that its last worker died in the middle of it. Nobody knows at
which item, so the shard is then done with care (see ``extract.safety.isolation``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from data_specs.location import Location

_SUFFIX = ".begun"


@contextmanager
def begun(folder: Location, shard: str) -> Iterator[bool]:
    """Marks a shard as begun for the length of the block; yields whether an earlier worker died on it.

    An exception takes the mark away like success does: whoever raises is alive, and says what is wrong.
    """
    mark = _mark(folder, shard)
    died = mark.exists()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield died
    finally:
        mark.unlink(missing_ok=True)


def forget(folder: Location) -> None:
    """Takes every mark away, after workers were stopped that had done nothing wrong."""
    for mark in folder.glob(f".*{_SUFFIX}"):
        mark.unlink(missing_ok=True)


def _mark(folder: Location, shard: str) -> Location:
    return folder / f".{shard}{_SUFFIX}"
