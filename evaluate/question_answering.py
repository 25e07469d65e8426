"""Open-ended questions: the most probable answer of a vocabulary, right where it is the question's own to the letter.

Letters: B videos, N regions a video, E joint width, Q questions, A answers of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluate.questions import QuestionPlan
from evaluate.result import QuestionAnsweringResult

RESULT_NAME = "question_answering.json"
TABLE_NAME = "answers.parquet"
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
