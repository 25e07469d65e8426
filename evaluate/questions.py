"""Which questions a protocol asks, about which videos.

Letters: B videos, Q questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.manifest import Manifest, Question
from data_specs.spec import load_spec, spec_names
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.protocol import DEFAULT_SPLITS, Plan, protocol_name
from train.distributed import Ranks

Kind = Literal["multiple-choice", "question-answering"]
_NAMES: dict[Kind, str] = {"multiple-choice": "question with options", "question-answering": "open-ended question"}


@dataclass(frozen=True)
class QuestionPlan(Plan):
    """Every question of one kind, in the manifest's order, and the B videos that they are about, no others.

    owner_Q: int64 [Q], the row in ``items`` of each question's video; it never falls.
    """

    questions: tuple[Question, ...]
    owner_Q: NDArray[np.int64]

    @property
    def task(self) -> Kind:
        """The kind of the questions, which all have."""
        return kind_of(self.questions[0])

    def keep(self, kept_B: NDArray[np.bool_]) -> Self:
        """The plan with some of its videos, and the questions about them."""
        kept_Q = kept_B[self.owner_Q]
        return replace(
            super().keep(kept_B),
            questions=tuple(q for q, kept in zip(self.questions, kept_Q, strict=True) if kept),
            owner_Q=(np.cumsum(kept_B) - 1)[self.owner_Q[kept_Q]],
        )


def kind_of(question: Question) -> Kind:
    """A question with options is a multiple choice, the rest is open."""
    return "multiple-choice" if question.options else "question-answering"


def plan_questions(
    manifest: Manifest, kind: Kind, splits: Sequence[str] = DEFAULT_SPLITS, source: str = "the manifest"
) -> QuestionPlan:
    """All questions of a kind in the chosen splits. ``source`` names the manifest in messages.

    Raises:
        InputError: a split has no rows, none of its rows has such a question, or the right option of one is unknown.
    """
    rows = sorted({row for split in splits for row in manifest.rows_of(split)})
    asked = [
        (item, questions)
        for item in manifest.take(rows)
        if (questions := [q for q in item.questions if kind_of(q) == kind])
    ]
    if not asked:
        raise InputError(_none_asked(source, manifest, kind, splits))
    plan = QuestionPlan(
        protocol_name(manifest.info),
        tuple(splits),
        tuple(item for item, _ in asked),
        tuple(q for _, questions in asked for q in questions),
        np.repeat(np.arange(len(asked)), [len(questions) for _, questions in asked]),
    )
    for q, owner in zip(plan.questions, plan.owner_Q.tolist(), strict=True):
        if q.options and not 0 <= q.label < len(q.options):
            raise InputError(
                f"{source}: question {q.key!r} about {plan.items[owner].id!r}: label {q.label} is none of its"
                f" {len(q.options)} options, so it cannot be scored"
            )
    return plan


def settled_questions(
    inputs: Inputs, kind: Kind, out: Path, options: EvaluationOptions, ranks: Ranks
) -> tuple[QuestionPlan, QuestionPlan]:
    """All that the protocol asks, and what of it can be asked; on all ranks alike. For errors see ``plan_questions``
    and ``Inputs.settle``."""

    def work() -> tuple[QuestionPlan, QuestionPlan]:
        planned = plan_questions(inputs.manifest, kind, options.splits, str(inputs.manifest_path))
        return planned, inputs.settle(planned, out, options, ranks.is_first)

    return ranks.agree(work)


def _none_asked(source: str, manifest: Manifest, kind: Kind, splits: Sequence[str]) -> str:
    """What is missing, and which protocol of the data set would have it."""
    info = manifest.info
    said = f"{source} ({protocol_name(info)}) has no {_NAMES[kind]} in split {'+'.join(splits)}"
    if info.dataset not in spec_names():
        return f"{said}; give the rows questions (docs/data-sets.md)"
    known = [name for name, protocol in load_spec(info.dataset).protocols.items() if protocol.task == kind]
    if not known:
        return f"{said}, and {info.dataset} has no protocol for them"
    if info.protocol in (known[0], f"{info.dataset}/{known[0]}"):
        return f"{said}: take another split, or see which files are missing: python -m data_specs show {info.dataset}"
    return f"{said}; build one that has: python -m data_specs build {info.dataset} --protocol {known[0]}"
