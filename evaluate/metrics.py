"""Retrieval figures from a score matrix, fair under ties.

Letters: Q queries, T candidates, K a cut-off, S bootstrap resamples.
A query may have several right candidates (a video has several captions): its rank is that of the best of them.
Candidates of exactly equal score have no order: recalls and ranks are expectations over all their orders, MedR is the
median of the expected ranks, GeoMean of the expected recalls. A model that gives every pair the same score therefore
gets exactly what chance gets, never a perfect result. Scores that differ by rounding alone do not tie: those of two
copies of one clip may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CUT_OFFS = (1, 5, 10)
RECALLS = tuple(f"R@{k}" for k in CUT_OFFS)
FIGURES = (*RECALLS, "MedR", "MeanR", "GeoMean")


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the best right candidate of each query stands; all that the figures need.

    above_Q: int64 [Q], wrong candidates with a higher score.
    tied_Q: int64 [Q], wrong candidates with exactly its score.
    best_Q: int64 [Q], right candidates with exactly its score, itself included (at least 1).
    right_Q: int64 [Q], right candidates in all.
    candidates: T, of all.
    """

    above_Q: NDArray[np.int64]
    tied_Q: NDArray[np.int64]
    best_Q: NDArray[np.int64]
    right_Q: NDArray[np.int64]
    candidates: int

    def __len__(self) -> int:
        return len(self.above_Q)

    def expected(self) -> NDArray[np.float64]:
        """Expected rank [Q], from 1: in a random order of e wrong and p right ones the first right one stands, on
        average, at (e + p + 1) / (p + 1). With p = 1 that is 1 + e / 2."""
        return self.above_Q + 1 + self.tied_Q / (self.best_Q + 1)

    def optimistic(self) -> NDArray[np.float64]:
        """Rank [Q] if every tie were broken in the model's favour, as many published tables do."""
        return (self.above_Q + 1).astype(np.float64)

    def within(self, k: int) -> NDArray[np.float64]:
        """Probability [Q] that a right candidate is among the first ``k``, over all orders of the ties.

        With t = k - above places left for n = e + p tied ones it is 1 - C(n - t, p) / C(n, p) (hypergeometric).
        """
        tied_all = self.tied_Q + self.best_Q
        places = np.clip(k - self.above_Q, 0, tied_all)
        miss = np.ones(len(self))
        for i in range(int(self.best_Q.max(initial=0))):
            drawn = i < self.best_Q
            left = np.clip(tied_all - places - i, 0, None)
            miss[drawn] *= left[drawn] / (tied_all[drawn] - i)
        return 1.0 - miss


def rank(scores_QT: NDArray[np.floating], query_Q: NDArray[np.integer], candidate_T: NDArray[np.integer]) -> Ranking:
    """Ranks the candidates of each query by falling score. A candidate is right where ``candidate_T == query_Q``.

    Raises:
        ValueError: shapes do not agree, a score is not a number, or a query has no right candidate.
    """
    scores_QT = np.asarray(scores_QT)
    if scores_QT.shape != (len(query_Q), len(candidate_T)):
        raise ValueError(f"scores {scores_QT.shape} for {len(query_Q)} queries and {len(candidate_T)} candidates")
    above, tied, best, right = (np.zeros(len(query_Q), np.int64) for _ in range(4))
    candidate_T = np.asarray(candidate_T)
    for i, (scores_T, wanted) in enumerate(zip(scores_QT, query_Q, strict=True)):
        if not np.isfinite(scores_T).all():
            raise ValueError(f"query {i}: a score is not a finite number")
        right_T = candidate_T == wanted
        if not right_T.any():
            raise ValueError(f"query {i}: none of the candidates is right")
        top = scores_T[right_T].max()
        equal_T = scores_T == top
        above[i] = np.count_nonzero(scores_T > top)
        best[i] = np.count_nonzero(equal_T & right_T)
        tied[i] = np.count_nonzero(equal_T) - best[i]
        right[i] = np.count_nonzero(right_T)
    return Ranking(above, tied, best, right, len(candidate_T))


def figures(ranking: Ranking) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent, median and mean of the expected ranks, geometric mean of the three recalls."""
    return _figures([ranking.within(k) for k in CUT_OFFS], ranking.expected())


def optimistic_figures(ranking: Ranking) -> dict[str, float]:
    """The same with every tie broken in the model's favour: for comparison with published tables only."""
    ranks_Q = ranking.optimistic()
    return _figures([(ranks_Q <= k).astype(np.float64) for k in CUT_OFFS], ranks_Q)


def chance(ranking: Ranking) -> Ranking:
    """The ranking of a model that gives every pair the same score: with one right candidate of T, R@k = k / T."""
    return Ranking(
        np.zeros_like(ranking.above_Q),
        ranking.candidates - ranking.right_Q,
        ranking.right_Q,
        ranking.right_Q,
        ranking.candidates,
    )


def recall_curve(ranking: Ranking, cut_offs: NDArray[np.integer]) -> NDArray[np.float64]:
    """R@k in percent for each of the cut-offs [K]."""
    return np.array([100.0 * ranking.within(int(k)).mean() for k in cut_offs])


def intervals(
    ranking: Ranking, group_Q: NDArray[np.integer], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of each figure (Efron and Tibshirani 1993, chapter 13).

    Whole groups are drawn with replacement: queries about one video are not independent, so ``group_Q`` is the video
    of each query. The same seed gives the same interval.
    """
    _, group_Q = np.unique(group_Q, return_inverse=True)
    groups = int(group_Q.max()) + 1
    within_KQ = np.stack([ranking.within(k) for k in CUT_OFFS])
    ranks_Q = ranking.expected()
    order_Q = np.argsort(ranks_Q, kind="stable")
    rng = np.random.default_rng(seed)
    drawn_S: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(resamples):
        weight_Q = np.bincount(rng.integers(groups, size=groups), minlength=groups)[group_Q]
        total = int(weight_Q.sum())
        recalls = 100.0 * (within_KQ @ weight_Q) / total
        median = _weighted_median(ranks_Q[order_Q], weight_Q[order_Q], total)
        values = (*recalls, median, float(ranks_Q @ weight_Q) / total, geometric_mean(recalls))
        for name, value in zip(FIGURES, values, strict=True):
            drawn_S[name].append(float(value))
    tail = (1.0 - level) / 2.0
    return {name: tuple(np.quantile(values, [tail, 1.0 - tail]).tolist()) for name, values in drawn_S.items()}


def geometric_mean(values: NDArray[np.floating]) -> float:
    """Geometric mean of values >= 0; 0 where one is 0."""
    values = np.asarray(values, np.float64)
    return 0.0 if (values <= 0).any() else float(np.exp(np.log(values).mean()))


def one_line(found: Mapping[str, float]) -> str:
    """``R@1 36.0 R@5 61.0 R@10 71.8 MedR 3.0 MeanR 14.2``."""
    return " ".join(f"{name} {found[name]:.1f}" for name in FIGURES if name != "GeoMean")


def _figures(within_KQ: list[NDArray[np.float64]], ranks_Q: NDArray[np.float64]) -> dict[str, float]:
    recalls = np.array([100.0 * within_Q.mean() for within_Q in within_KQ])
    values = (*recalls, np.median(ranks_Q), ranks_Q.mean(), geometric_mean(recalls))
    return {name: float(value) for name, value in zip(FIGURES, values, strict=True)}


def _weighted_median(sorted_Q: NDArray[np.float64], weight_Q: NDArray[np.integer], total: int) -> float:
    """Median of the multiset that holds ``sorted_Q[i]`` ``weight_Q[i]`` times."""
    reached_Q = np.cumsum(weight_Q)
    low, high = np.searchsorted(reached_Q, [(total - 1) // 2, total // 2], side="right")
    return float(sorted_Q[low] + sorted_Q[high]) / 2.0
