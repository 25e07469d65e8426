"""Which moments of a clip are looked at: one in each of equal segments, in its middle or anywhere in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SEGMENT_MIDDLES = "segment-middles"
SEGMENT_RANDOM = "segment-random"
RULES = (SEGMENT_MIDDLES, SEGMENT_RANDOM)
IMPORTED = "imported: timestamps are frame numbers"


@dataclass(frozen=True)
class Sampling:
    """``frames`` moments a clip by a rule. The seed matters to ``segment-random`` alone.

    Raises:
        ValueError: no frame is asked for, or the rule is unknown.
    """

    frames: int
    rule: str = SEGMENT_MIDDLES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"{self.frames} frames: at least 1 is needed")
        if self.rule not in RULES:
            raise ValueError(f"sampling {self.rule!r} is unknown, there are {', '.join(RULES)}")

    def times(self, start: float, end: float, identifier: str) -> list[float]:
        """A moment of each segment of the clip from ``start`` to ``end``, in seconds, rising.

        At random they depend on the seed and the item's identifier alone: not on the order of the items, the worker
        or the process.

        Raises:
            ValueError: the clip is empty.
        """
        if end < start:
            raise ValueError(f"a clip from {start} s to {end} s is empty")
        length = (end - start) / self.frames
        return [start + length * (segment + self._place(identifier, segment)) for segment in range(self.frames)]

    def describe(self) -> str:
        """The rule as it stands in the provenance of the shards."""
        return self.rule if self.rule == SEGMENT_MIDDLES else f"{self.rule} seed {self.seed}"

    def _place(self, identifier: str, segment: int) -> float:
        """Where in the segment, from 0 to 1."""
        if self.rule == SEGMENT_MIDDLES:
            return 0.5
        drawn = hashlib.sha256(f"{self.seed}/{segment}/{identifier}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(drawn[:7], "big") / (1 << 56)
