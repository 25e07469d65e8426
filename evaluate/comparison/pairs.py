"""The paired differences that a group's runs allow: each run against the first, where both wrote what they answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import InputError
from evaluate.comparison.groups import Group
from evaluate.comparison.paired import Difference, Outcomes, paired_difference
from evaluate.comparison.runs import Run

TABLES = {"multiple-choice": "choices.parquet", "question-answering": "answers.parquet"}
COLUMNS = ("key", "video", "correct")


@dataclass(frozen=True)
class Pair:
    """How far ``label`` is above ``base``; None, and why, where their questions are not the same."""

    label: str
    base: str
    difference: Difference | None
    why_not: str = ""

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.label} minus {self.base}: {self.why_not}"
        points, (low, high) = self.difference.points, self.difference.interval
        return f"{self.label} minus {self.base}: {points:+.1f} points (95 % {low:+.1f} to {high:+.1f}, paired)"


def pairs(group: Group) -> tuple[Pair, ...]:
    """Each run of the group against the first; runs without a table of their answers are left out.

    Raises:
        InputError: a table cannot be read, or is not that of the result beside it.
    """
    found = [(run, outcomes) for run in group.runs if (outcomes := _outcomes(run)) is not None]
    return tuple(_pair(run, outcomes, *found[0]) for run, outcomes in found[1:])


def _pair(run: Run, outcomes: Outcomes, base: Run, base_outcomes: Outcomes) -> Pair:
    try:
        return Pair(run.label, base.label, paired_difference(outcomes, base_outcomes))
    except ValueError as error:
        return Pair(run.label, base.label, None, str(error))


def _outcomes(run: Run) -> Outcomes | None:
    """What the run made of each question, from the table beside its result."""
    if run.result.task == "retrieval" or not (path := run.path.with_name(TABLES[run.result.task])).is_file():
        return None
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        keys, videos, correct = (table.column(name).to_pylist() for name in COLUMNS)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a table with {', '.join(COLUMNS)}: {error}") from None
    hit_Q = np.array(correct, np.float64)
    if len(hit_Q) != run.result.questions or abs(100.0 * hit_Q.mean() - run.headline.value) > 1e-3:
        raise InputError(f"{path}: not of the result beside it, {run.path.name}; run that evaluation again")
    return Outcomes(tuple(map(str, keys)), tuple(map(str, videos)), hit_Q)
