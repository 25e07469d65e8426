"""Dual softmax: scores weighed by how much a candidate prefers each query over all the others.

Letters: Q queries, T candidates. Source: CAMoE (arXiv 2109.04290). It looks at all queries of the test at once, which
a search engine that answers one query cannot do, so figures with it are another protocol and are reported apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_NUMBERS_AT_ONCE = 1 << 22  # 32 MiB


def dual_softmax(scores_QT: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """``S_qt * exp(S_qt / temperature) / Σ_q' exp(S_q't / temperature)``, [Q, T]: rows are the queries.

    For text to video the rows are sentences and the columns videos; for video to text give the transposed scores. A
    score below 0 falls where it is preferred, as in the source. Equal queries and equal candidates stay equal. In
    float64: in float32 small shares would be 0, and tie.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} of the dual softmax: must be above 0")
    top_T = np.max(scores_QT, axis=0, initial=-np.inf).astype(np.float64)
    total_T = np.zeros_like(top_T)
    for rows in _rows(*scores_QT.shape):
        total_T += np.exp((scores_QT[rows] - top_T) / temperature).sum(0)
    found_QT = np.empty(scores_QT.shape, np.float64)
    for rows in _rows(*scores_QT.shape):
        found_QT[rows] = np.exp((scores_QT[rows] - top_T) / temperature) / total_T * scores_QT[rows]
    return found_QT


def _rows(queries: int, candidates: int) -> Iterator[slice]:
    """Whole rows: a column is then summed in the same order wherever it stands."""
    step = max(1, _NUMBERS_AT_ONCE // max(candidates, 1))
    for start in range(0, queries, step):
        yield slice(start, start + step)
