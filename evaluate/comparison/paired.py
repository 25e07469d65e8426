"""Whether one run is better than another on the very same queries: paired bootstrap over videos.

Letters: B videos, Q queries or questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.result import SEED, Interval

RESAMPLES = 2000
_CHUNK = 100


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a run made of each query: hit_Q, the probability in [0, 1] that it is right, and the video that it is about.

    keys: what the queries are told apart by, the same in every run on the same data.
    """

    keys: tuple[str, ...]
    videos: tuple[str, ...]
    hit_Q: NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Points in percent by which one run is above another, with a 95 % interval."""

    points: float
    interval: Interval

    @property
    def settled(self) -> bool:
        """The interval does not hold 0."""
        return not self.interval[0] <= 0.0 <= self.interval[1]


def paired_difference(run: Outcomes, base: Outcomes, *, resamples: int = RESAMPLES, seed: int = SEED) -> Difference:
    """``run`` minus ``base`` in percent of hits, with a percentile bootstrap over videos (Efron and Tibshirani 1993).

    Whole videos are drawn, each with its queries and with both runs' hits on them: what is hard for both runs cancels
    out, so the interval is mostly narrower than the runs' own intervals suggest.

    Raises:
        ValueError: the runs do not have the same queries about the same videos, or one has a query twice.
    """
    place = {key: i for i, key in enumerate(base.keys)}
    if len(place) != len(base.keys) or len(run.keys) != len(base.keys) or place.keys() != set(run.keys):
        raise ValueError("the runs do not have the same queries")
    order_Q = np.array([place[key] for key in run.keys], np.int64)
    if any(video != base.videos[i] for video, i in zip(run.videos, order_Q, strict=True)):
        raise ValueError("the runs do not ask about the same videos")
    gain_Q = np.asarray(run.hit_Q, np.float64) - np.asarray(base.hit_Q, np.float64)[order_Q]
    _, video_Q = np.unique(run.videos, return_inverse=True)
    asked_B = np.bincount(video_Q)
    gain_B = np.bincount(video_Q, weights=gain_Q)
    drawn = _resampled(gain_B, asked_B, resamples, seed)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Difference(100.0 * float(gain_Q.mean()), (100.0 * low, 100.0 * high))


def _resampled(
    gain_B: NDArray[np.float64], asked_B: NDArray[np.integer], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Mean gain a query in each resample of as many videos, drawn with replacement."""
    rng = np.random.default_rng(seed)
    videos = len(gain_B)
    means = []
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        weight_SB = rng.multinomial(videos, np.full(videos, 1.0 / videos), size=rows)
        means.append((weight_SB @ gain_B) / (weight_SB @ asked_B))
    return np.concatenate(means)
