"""Results as they are written: figures, and everything that they depend on. One JSON file a task."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from data_specs.configuration import Settings
from data_specs.shards import Provenance
from evaluate.metrics import FIGURES
from evaluate.protocol import DEFAULT_SPLITS, Queries
from evaluate.setting import Setting
from train.history import Learnt

Interval = tuple[float, float]
SEED = 0


class Evaluation(Settings):
    """What every result says. ``videos`` of ``videos_planned`` took part; ``missing_list`` names the others.

    setting: see ``evaluate.setting``. history: the runs that made the model. score: how it compares, in words.
    """

    task: str
    protocol: str
    splits: tuple[str, ...]
    setting: Setting
    videos: int
    videos_planned: int
    missing: int
    missing_list: str | None
    frames: int
    regions: int
    score: str
    bootstrap: dict[str, int]
    model_sha256: str
    manifest_sha256: str
    shards: Provenance
    history: tuple[Learnt, ...] = ()
    note: str = ""


class Direction(Settings):
    """Figures of one direction. Recalls are in percent; intervals are 95 % bootstrap over videos.

    ``optimistic`` breaks ties in the model's favour, ``chance`` is what a constant score gets.
    """

    figures: dict[str, float]
    intervals: dict[str, Interval]
    optimistic: dict[str, float]
    chance: dict[str, float]
    queries: int
    queries_planned: int
    candidates: int
    candidates_planned: int

    @model_validator(mode="after")
    def _whole(self) -> Direction:
        for name in ("figures", "intervals", "optimistic", "chance"):
            lacking = [figure for figure in FIGURES if figure not in getattr(self, name)]
            if lacking:
                raise ValueError(f"{name}: {lacking[0]} is missing")
        return self


class BothWays(Settings):
    """A score's figures in both directions."""

    text_to_video: Direction
    video_to_text: Direction


class RetrievalResult(Evaluation):
    """``retrieval.json``. The figures are those of the sum of all similarities that the model was trained with.

    global_alone, local_alone: of one of them; absent where the model has only one. dual_softmax: of the sum, after a
    softmax over all queries of the test; reported apart, since a query alone could not be answered that way.
    """

    task: Literal["retrieval"] = "retrieval"
    queries_rule: Queries
    text_to_video: Direction
    video_to_text: Direction
    global_alone: BothWays | None = None
    local_alone: BothWays | None = None
    dual_softmax: BothWays | None = None
    ties: str = "expected over all orders"


class MultipleChoiceResult(Evaluation):
    """``multiple_choice.json``. Accuracies are in percent; the interval is a 95 % bootstrap over videos.

    ``accuracy`` is expected over all orders of tied options, ``optimistic`` breaks them in the model's favour,
    ``chance`` is what a constant score gets. options: how many questions have so many options.
    """

    task: Literal["multiple-choice"] = "multiple-choice"
    accuracy: float
    accuracy_interval: Interval
    optimistic: float
    chance: float
    questions: int
    questions_planned: int
    options: dict[int, int]


class QuestionGroup(Settings):
    """Questions of one kind. accuracy: percent. covered: how many have an answer that the vocabulary holds."""

    name: str
    questions: int
    covered: int
    accuracy: float
    accuracy_interval: Interval


class Confusion(Settings):
    """How often what was answered: ``counts[i][j]`` questions with the answer ``answers[i]`` got ``answers[j]``, and
    in the last column one of all others."""

    answers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class QuestionAnsweringResult(Evaluation):
    """``question_answering.json``. Accuracies are in percent, of all questions: an answer outside the vocabulary counts
    as wrong. Intervals are 95 % bootstraps over videos.

    covered: questions whose answer the vocabulary (of ``vocabulary`` answers) holds, so at most so many can be right.
    vocabulary_shared: how many of those answers the manifest's own vocabulary has too, where it is another one.
    majority_answer, majority_accuracy: the training questions' most frequent answer given to every question; of the
    evaluated questions themselves where the manifest has no training questions (``majority_from`` says which).
    """

    task: Literal["question-answering"] = "question-answering"
    accuracy: float
    accuracy_interval: Interval
    questions: int
    questions_planned: int
    vocabulary: int
    vocabulary_shared: int | None = None
    covered: int
    majority_answer: str
    majority_accuracy: float
    majority_from: str
    by_answer_type: tuple[QuestionGroup, ...]
    by_question_word: tuple[QuestionGroup, ...]
    confusion: Confusion


def counted(number: int, planned: int) -> str:
    """``10``, or ``9/10`` when some are missing."""
    return f"{number}" if number == planned else f"{number}/{planned}"


def described(result: Evaluation) -> str:
    """Protocol, splits where they are not the usual ones, and setting: ``msrvtt/1k-A, tuned``."""
    splits = "" if result.splits == DEFAULT_SPLITS else f", split {'+'.join(result.splits)}"
    setting = "setting unknown" if result.setting == "unknown" else result.setting
    return f"{result.protocol}{splits}, {setting}"
