"""Which frames of a clip are taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select_frames(stored: int, frames: int, draws: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """Which of the ``stored`` frames to take, in order: one of each of ``frames`` equal segments.

    Without ``draws`` the middle of each segment (the earlier one of two), else a random one: ``draws[f]`` in [0, 1)
    says which of segment f. With fewer stored frames than asked for, each is taken once: the caller masks what is
    missing.
    """
    if stored <= frames:
        return np.arange(stored)
    borders = np.arange(frames + 1) * stored // frames
    if draws is None:
        return (borders[:-1] + borders[1:] - 1) // 2
    return borders[:-1] + (draws[:frames] * np.diff(borders)).astype(np.int64)
