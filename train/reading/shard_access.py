"""The shards that one process has open: each from its first sample of an epoch to its last."""

from __future__ import annotations

from collections import Counter, OrderedDict

from train.reading.shard_file import Identity, ShardFile
from train.reading.sources import Source

MAX_AWAKE = 128
Which = tuple[int, int]
"""A shard: the number of its source, and its own among the source's."""


class ShardAccess:
    """Opens shards as they are asked for, and closes each when the last sample of it that was expected is taken.

    Side by side they are about lanes * (1 + window / samples a shard), of all processes together. Only the ``awake``
    that were used last keep their descriptors; those of a URL lie on this machine's disk while they are open.
    """

    def __init__(self, sources: tuple[Source, ...], verify: bool, awake: int = MAX_AWAKE) -> None:
        self._sources, self._verify, self._most = sources, verify, awake
        self._open: dict[Which, ShardFile] = {}
        self._awake: OrderedDict[Which, ShardFile] = OrderedDict()
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
            source, number = which
            file = ShardFile(self._sources[source].shards[number], self._verify, self._verified.get(which))
            self._open[which] = file
        elif file.resting:
            file.wake()
        self._verified[which] = file.identity
        if not file.fetched:
            self._awake[which] = file
            self._awake.move_to_end(which)
            while len(self._awake) > self._most:
                self._awake.popitem(last=False)[1].rest()
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
        self._awake.pop(which, None)
        file = self._open.pop(which)
        self._closed_bytes += file.bytes_read
        file.close()
