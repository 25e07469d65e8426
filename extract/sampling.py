"""Which moments of a clip are looked at: the middles of equal segments."""

from __future__ import annotations

SEGMENT_MIDDLES = "segment-middles"
IMPORTED = "imported: timestamps are frame numbers"


def segment_middles(start: float, end: float, frames: int) -> list[float]:
    """The middles of ``frames`` equal segments of the clip from ``start`` to ``end``, in seconds.

    Raises:
        ValueError: the clip is empty or no frame is asked for.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames: at least 1 is needed")
    if end < start:
        raise ValueError(f"a clip from {start} s to {end} s is empty")
    return [start + (end - start) * (2 * i + 1) / (2 * frames) for i in range(frames)]
