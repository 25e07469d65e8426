"""The dual softmax against its formula, and what must not come of it: ties, or the loss of ties."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate import dual_softmax as module
from evaluate.dual_softmax import dual_softmax


def test_equals_the_formula_in_any_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores_QT = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    expected_QT = np.empty((7, 5))
    for q in range(7):
        for t in range(5):
            total = sum(np.exp(float(other) / 0.3) for other in scores_QT[:, t])
            expected_QT[q, t] = scores_QT[q, t] * np.exp(float(scores_QT[q, t]) / 0.3) / total
    np.testing.assert_allclose(dual_softmax(scores_QT, 0.3), expected_QT, rtol=1e-12)
    whole = dual_softmax(scores_QT, 0.3)
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 10)
    np.testing.assert_allclose(dual_softmax(scores_QT, 0.3), whole, rtol=1e-12)
    assert dual_softmax(np.zeros((0, 3)), 0.3).shape == (0, 3)


def test_equal_queries_and_candidates_stay_equal_and_others_apart() -> None:
    rng = np.random.default_rng(1)
    scores_QT = rng.uniform(-1, 2, size=(41, 37)).astype(np.float32)
    scores_QT[40], scores_QT[:, 36] = scores_QT[3], scores_QT[:, 5]
    for given in (scores_QT, np.ascontiguousarray(scores_QT.T).T):
        found_QT = dual_softmax(given, 0.01)  # shares down to e^-300
        assert np.array_equal(found_QT[40], found_QT[3]) and np.array_equal(found_QT[:, 36], found_QT[:, 5])
        assert len(np.unique(found_QT)) == len(np.unique(scores_QT))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_refuses_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        dual_softmax(np.zeros((2, 2)), temperature)
