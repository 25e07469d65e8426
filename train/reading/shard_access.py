"""The shards that one process has open: each from its first sample of an epoch to its last."""

from __future__ import annotations

from collections import Counter, OrderedDict

from train.reading.shard_file import Identity, ShardFile
from train.reading.sources import Source

MAX_OPEN = 256
Which = tuple[int, int]
"""A shard: the number of its source, and its own among the source's."""


class ShardAccess:
    """Opens shards as they are asked for. Those of a URL lie on this machine's disk while they are open.

    With more than ``most`` wanted at once the one that was not used for longest is closed, and opened again later.
    """

    def __init__(self, sources: tuple[Source, ...], verify: bool, most: int = MAX_OPEN) -> None:
        self._sources, self._verify, self._most = sources, verify, most
        self._open: OrderedDict[Which, ShardFile] = OrderedDict()
        self._verified: dict[Which, Identity] = {}
        self._left: Counter[Which] = Counter()
        self._closed_bytes = 0

    @property
    def bytes_read(self) -> int:
        """Bytes that were read for samples so far; headers and hashes not included."""
        return self._closed_bytes + sum(file.bytes_read for file in self._open.values())

    def expect(self, wanted: Counter[Which]) -> None:
        """How many samples will be asked of each shard: after the last of them it is closed."""
        self.close()
        self._left = wanted

    def get(self, which: Which) -> ShardFile:
        """The open shard.

        Raises:
            InputError: it cannot be opened, or is not the one that was committed.
        """
        file = self._open.get(which)
        if file is None:
            while len(self._open) >= self._most:
                self._shut(next(iter(self._open)))
            source, number = which
            shard = self._sources[source].shards[number]
            file = self._open[which] = ShardFile(shard, self._verify, self._verified.get(which))
            self._verified[which] = file.identity
        self._open.move_to_end(which)
        return file

    def done(self, which: Which) -> None:
        """One of the samples that were expected of a shard has been taken, or could not be."""
        self._left[which] -= 1
        if self._left[which] <= 0 and which in self._open:
            self._shut(which)

    def close(self) -> None:
        """Closes all of them."""
        while self._open:
            self._shut(next(iter(self._open)))

    def _shut(self, which: Which) -> None:
        file = self._open.pop(which)
        self._closed_bytes += file.bytes_read
        file.close()
