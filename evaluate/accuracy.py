"""How often one of several alternatives was picked rightly, fair under ties.

Letters: Q questions, K alternatives (options of a choice, answers of a vocabulary), G groups of questions, S bootstrap
resamples.
Alternatives of equal score have no order, so a question with its right one among k at the top counts 1/k: what a model
gets on average that picks one of them blindly. A model that scores all alike therefore gets exactly what chance gets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE_GIVEN = "not given"
OTHER = "other"
HOW_MANY = "how many"
QUESTION_WORDS = ("what", "who", "whose", "whom", "which", "where", "when", "why", "how")
VERBS = ("is", "are", "was", "were", "am", "do", "does", "did", "has", "have", "had", "can", "could", "will", "would")
VERB = "is/does"
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, eq=False)
class Picks:
    """What was picked for each question.

    first_Q: int64 [Q], of the alternatives at the top the one that stands first; for showing, never for counting.
    tied_Q: int64 [Q], how many stand at the top, at least 1. right_Q: bool [Q], whether the right one is among them.
    """

    first_Q: NDArray[np.int64]
    tied_Q: NDArray[np.int64]
    right_Q: NDArray[np.bool_]

    def expected(self) -> NDArray[np.float64]:
        """How right each answer is [Q], over all orders of the ties: 1, 1/k or 0."""
        return self.right_Q / self.tied_Q

    def optimistic(self) -> NDArray[np.float64]:
        """The same with every tie broken in the model's favour [Q]: 1 or 0."""
        return self.right_Q.astype(np.float64)


def pick(scores_QK: NDArray[np.floating], label_Q: NDArray[np.integer]) -> Picks:
    """The alternatives with the highest score. -inf stands where a question has fewer than K.

    label_Q: [Q], the right alternative; -1 where none of them is right.

    Raises:
        ValueError: a score is not a number or infinite, a question has no alternative, or a label is none of them.
    """
    scores_QK, label_Q = np.asarray(scores_QK), np.asarray(label_Q, np.int64)
    if scores_QK.ndim != 2 or not scores_QK.shape[1] or label_Q.shape != scores_QK.shape[:1]:
        raise ValueError(f"scores {scores_QK.shape} for {label_Q.shape} labels")
    top_Q = scores_QK.max(1)
    if not np.isfinite(top_Q).all() or np.isnan(scores_QK).any():
        bad = int((~np.isfinite(top_Q) | np.isnan(scores_QK).any(1)).sum())
        raise ValueError(f"the scores of {bad} of {len(label_Q)} questions are not numbers")
    if (label_Q < -1).any() or (label_Q >= scores_QK.shape[1]).any():
        raise ValueError(f"labels from {label_Q.min()} to {label_Q.max()} for {scores_QK.shape[1]} alternatives")
    best_QK = scores_QK == top_Q[:, None]
    right_Q = best_QK[np.arange(len(label_Q)), label_Q] & (label_Q >= 0)
    return Picks(best_QK.argmax(1), best_QK.sum(1), right_Q)


def padded(scores: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Rows of different lengths as one array [Q, K], filled with -inf."""
    scores_QK = np.full((len(scores), max(map(len, scores), default=1)), -np.inf, np.float32)
    for row, scores_K in zip(scores_QK, scores, strict=True):
        row[: len(scores_K)] = scores_K
    return scores_QK


def percent(correct_Q: NDArray[np.floating]) -> float:
    """Mean of ``correct_Q`` in percent."""
    return 100.0 * float(np.mean(correct_Q))


def chance(alternatives_Q: NDArray[np.integer]) -> float:
    """What a constant score gets, in percent: the mean of 1 / alternatives."""
    return percent(1.0 / np.asarray(alternatives_Q))


def interval(
    correct_Q: NDArray[np.floating],
    video_Q: NDArray[np.integer],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy in percent (Efron and Tibshirani 1993, chapter 13).

    Whole videos are drawn with replacement: questions about one video are not independent. The same seed gives the
    same interval, whatever the order of the questions.
    """
    _, video_Q = np.unique(video_Q, return_inverse=True)
    asked_B = np.bincount(video_Q)
    # of whole parts, so that the order in which a video's questions are added up leaves no trace
    right_B = np.round(np.bincount(video_Q, weights=correct_Q), 9)
    videos = len(asked_B)
    rng = np.random.default_rng(seed)
    drawn_S = np.empty(resamples)
    for s in range(resamples):
        weight_B = np.bincount(rng.integers(videos, size=videos), minlength=videos)
        drawn_S[s] = 100.0 * (weight_B @ right_B) / (weight_B @ asked_B)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn_S, [tail, 1.0 - tail]).tolist()
    return low, high


def groups(names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Name of a group to the rows of its questions, the largest group first, equal ones by name. "" is NONE_GIVEN."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name or NONE_GIVEN, []).append(row)
    ordered = sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return {name: np.array(rows, np.int64) for name, rows in ordered}


def question_word(question: str) -> str:
    """The word that a question starts with: one of QUESTION_WORDS, ``VERB`` for any of VERBS, else OTHER.

    Letter case does not matter, nor what follows an apostrophe ("what's"). "how many" counts things and is a group of
    its own, as it is a kind of answer of its own; published tables put it under "how".
    """
    first, second = (*_WORD.findall(question.lower()), "", "")[:2]
    if (first, second) == ("how", "many"):
        return HOW_MANY
    return first if first in QUESTION_WORDS else VERB if first in VERBS else OTHER


def confusion(answers: Sequence[str], predicted: Sequence[str], shown: Sequence[str]) -> NDArray[np.int64]:
    """How often what was answered, int64 [len(shown), len(shown) + 1]; the last column counts all other answers."""
    place = {answer: row for row, answer in enumerate(shown)}
    counts = np.zeros((len(shown), len(shown) + 1), np.int64)
    for answer, given in zip(answers, predicted, strict=True):
        if answer in place:
            counts[place[answer], place.get(given, len(shown))] += 1
    return counts
