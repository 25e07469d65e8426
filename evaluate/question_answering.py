"""Open-ended questions: the most probable answer of a vocabulary, right where it is the question's own to the letter.

Letters: B videos, N regions a video, E joint width, Q questions, A answers of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import PositiveInt

from data_specs import atomic
from data_specs.annotations.answers import most_frequent, open_answers
from data_specs.manifest import Manifest
from evaluate import accuracy
from evaluate.answers import answer_questions
from evaluate.embedding.store import Progress
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.questions import QuestionPlan, settled_questions
from evaluate.result import SEED, Confusion, QuestionAnsweringResult, QuestionGroup, counted, described
from evaluate.tables import write_table
from train.answering import AnsweringModel
from train.distributed import Ranks

RESULT_NAME = "question_answering.json"
TABLE_NAME = "answers.parquet"
CONFUSED = 10
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("video", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float32()),
        ("right_probability", pa.float32()),
        ("correct", pa.float64()),
    ]
)


class QuestionAnsweringOptions(EvaluationOptions):
    """``batch_size`` of None: see ``clips_a_block``."""

    batch_size: PositiveInt | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """A finished evaluation, with what the page draws from.

    predicted: the most probable answer of each question; of several with the same logit the first of the vocabulary.
    probability_Q: float32 [Q], of that answer. right_probability_Q: float32 [Q], of the right one, NaN where the
    vocabulary does not hold it. correct_Q: float64 [Q], 1 where the right answer has the highest logit alone, 1/k where
    it shares it with k - 1 others, else 0.
    """

    result: QuestionAnsweringResult
    plan: QuestionPlan
    predicted: list[str]
    probability_Q: NDArray[np.float32]
    right_probability_Q: NDArray[np.float32]
    correct_Q: NDArray[np.float64]


def evaluate_question_answering(
    model: AnsweringModel,
    inputs: Inputs,
    out: Path,
    options: QuestionAnsweringOptions,
    ranks: Ranks | None = None,
    progress: Progress = lambda done, of: None,
) -> Answers | None:
    """Runs the protocol, on all ranks alike; the first one has the result, the others None. ``progress`` hears how many
    more of how many questions were answered.

    Raises:
        InputError: the shards do not fit the model or are broken, or nobody asks an open-ended question.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    ranks = ranks or Ranks()
    planned, plan = settled_questions(inputs, "question-answering", out, options, ranks)
    frames, regions = ranks.agree(lambda: inputs.sizes(model.config, options))
    given = answer_questions(
        model, inputs.stored, plan, frames=frames, regions=regions,
        ranks=ranks, batch_size=options.batch_size, progress=progress,
    )  # fmt: skip
    if given is None:
        return None
    predicted = [model.answers[row] for row in given.picks.first_Q.tolist()]
    correct_Q = given.picks.expected()
    result = QuestionAnsweringResult(
        **inputs.facts(planned, plan, frames, regions, options),
        score=f"the most probable of {len(model.answers)} answers",
        questions_planned=len(planned.questions),
        **_vocabularies(model.answers, inputs.manifest.info.answers),
        **_majority(inputs.manifest, plan),
        **_figures(plan, predicted, correct_Q, ~np.isnan(given.right_probability_Q), options.resamples),
    )
    return Answers(result, plan, predicted, given.probability_Q, given.right_probability_Q, correct_Q)


def write_answers(folder: Path, found: Answers) -> None:
    """Writes ``answers.parquet``, one row a question, and then ``question_answering.json``."""
    plan = found.plan
    columns = (
        [q.key for q in plan.questions],
        [plan.ids[owner] for owner in plan.owner_Q.tolist()],
        [q.question for q in plan.questions],
        [q.answer for q in plan.questions],
        [q.answer_type for q in plan.questions],
        found.predicted,
        found.probability_Q,
        [None if np.isnan(p) else p for p in found.right_probability_Q],
        found.correct_Q,
    )
    write_table(folder / TABLE_NAME, columns, SCHEMA)
    atomic.write_text(folder / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")


def summary(result: QuestionAnsweringResult) -> str:
    """The one line of a result: accuracy, interval, majority, coverage, protocol and counts."""
    low, high = result.accuracy_interval
    return (
        f"accuracy {result.accuracy:.1f} (95 % {low:.1f} to {high:.1f}, majority answer"
        f" {result.majority_accuracy:.1f}, vocabulary covers {100 * result.covered / result.questions:.1f} %)"
        f" ({described(result)}, {counted(result.questions, result.questions_planned)} questions,"
        f" {counted(result.videos, result.videos_planned)} videos)"
    )


def _figures(
    plan: QuestionPlan, predicted: Sequence[str], correct_Q: NDArray[np.float64], covered_Q: NDArray[np.bool_],
    resamples: int,
) -> dict[str, Any]:  # fmt: skip
    answers = [q.answer for q in plan.questions]

    def bounds(rows: NDArray[np.int64]) -> tuple[float, float]:
        return accuracy.interval(correct_Q[rows], plan.owner_Q[rows], resamples=resamples, seed=SEED)

    def grouped(names: Sequence[str]) -> tuple[QuestionGroup, ...]:
        return tuple(
            QuestionGroup(
                name=name,
                questions=len(rows),
                covered=int(covered_Q[rows].sum()),
                accuracy=accuracy.percent(correct_Q[rows]),
                accuracy_interval=bounds(rows),
            )
            for name, rows in accuracy.groups(names).items()
        )

    shown = most_frequent(answers, CONFUSED)
    counts = accuracy.confusion(answers, predicted, shown)
    return {
        "accuracy": accuracy.percent(correct_Q),
        "accuracy_interval": bounds(np.arange(len(answers))),
        "questions": len(answers),
        "covered": int(covered_Q.sum()),
        "by_answer_type": grouped([q.answer_type for q in plan.questions]),
        "by_question_word": grouped([accuracy.question_word(q.question) for q in plan.questions]),
        "confusion": Confusion(answers=shown, counts=tuple(map(tuple, counts.tolist()))),
    }


def _majority(manifest: Manifest, plan: QuestionPlan) -> dict[str, Any]:
    """The answer given most often, among the training questions where there are any, and how often it is right."""
    evaluated, source = [q.answer for q in plan.questions], "train"
    rows = manifest.rows_of("train") if "train" in manifest.counts() else []
    counted_in = list(open_answers(manifest.take(rows)))
    if not counted_in:
        counted_in, source = evaluated, "+".join(plan.splits)
    (answer,) = most_frequent(counted_in, 1)
    right_Q = np.array([given == answer for given in evaluated])
    return {"majority_answer": answer, "majority_accuracy": accuracy.percent(right_Q), "majority_from": source}


def _vocabularies(answers: Sequence[str], of_manifest: Sequence[str]) -> dict[str, int | None]:
    """Sizes of the model's vocabulary and, where the manifest has another one, of what both share."""
    shared = None if not of_manifest or set(answers) == set(of_manifest) else len(set(answers) & set(of_manifest))
    return {"vocabulary": len(answers), "vocabulary_shared": shared}
