"""The paired differences that a group's runs allow: each run against the first, where both wrote what they answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import InputError
from evaluate.comparison.groups import Group
from evaluate.comparison.paired import Difference, Outcomes, paired_difference
from evaluate.comparison.runs import Run
from evaluate.export import METADATA_KEY, RANKS_NAME

TABLES = {"multiple-choice": "choices.parquet", "question-answering": "answers.parquet"}


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
    """What the run made of each question, or sentence, from the table beside its result."""
    is_retrieval = run.result.task == "retrieval"
    path = run.path.with_name(RANKS_NAME if is_retrieval else TABLES[run.result.task])
    if not path.is_file():
        return None
    found = _ranked(path) if is_retrieval else _answered(path)
    if not len(found.hit_Q) or not abs(100.0 * found.hit_Q.mean() - run.headline.value) <= 1e-3:  # not a number, too
        raise InputError(f"{path}: not of the result beside it, {run.path.name}; run that evaluation again")
    return found


def _answered(path: Path) -> Outcomes:
    rows = _columns(path, "key", "video", "correct").to_pylist()
    keys, videos = (tuple(str(row[name]) for row in rows) for name in ("key", "video"))
    if len(set(keys)) < len(keys):  # a manifest may name no keys; then rows stand in its order
        keys = tuple(map(str, range(len(rows))))
    try:
        return Outcomes(keys, videos, np.array([row["correct"] for row in rows], np.float64))
    except (TypeError, ValueError):
        raise InputError(f"{path}: column correct does not hold numbers; run that evaluation again") from None


def _ranked(path: Path) -> Outcomes:
    """Of each sentence the probability, over all orders of equal scores, that its video comes first."""
    table = _columns(path, "direction", "query", "text", "right", "above", "tied", "tied_right")
    try:
        ids = json.loads((table.schema.metadata or {})[METADATA_KEY])["video_ids"]
        rows = [row for row in table.to_pylist() if row["direction"] == "text_to_video"]
        hits = [row["tied_right"] / (row["tied"] + row["tied_right"]) if row["above"] == 0 else 0.0 for row in rows]
        keys = tuple(f"{row['query']} {row['text']}" for row in rows)
        return Outcomes(keys, tuple(str(ids[row["right"][0]]) for row in rows), np.array(hits, np.float64))
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path}: not the ranks of a retrieval: {error!r}; run that evaluation again") from None


def _columns(path: Path, *names: str) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(names)).select(list(names))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a table with {', '.join(names)}: {error}") from None
