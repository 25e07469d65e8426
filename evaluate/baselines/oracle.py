"""The ceiling of each metric on made clips: an oracle that reads the scene graphs which the generator drew.

A caption ranks the clips of which all its claims are true before the others. Where it is true of several, not even the
oracle can tell them apart.

Letters: B videos, C sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.manifest import Question, read_manifest
from data_specs.shapes import native_layout
from data_specs.shapes.captions import Caption, captions_of
from data_specs.shapes.choices import options
from data_specs.shapes.generate import Clip, read_clips
from data_specs.shapes.questions import questions_of
from data_specs.shards import file_sha256
from evaluate import accuracy
from evaluate.baselines.result import BaselineResult
from evaluate.protocol import Queries, RetrievalPlan, plan_retrieval
from evaluate.result import SEED
from evaluate.retrieval import Judge, rank_both_ways

RESULT_NAME = "oracle.json"
ABOUT = "reads the scene graphs that the clips were made from"


def evaluate_oracle(
    root: Path, manifest: Path, splits: Sequence[str], queries: Queries | None, resamples: int
) -> BaselineResult:
    """The oracle's figures on a folder of shapes.

    Raises:
        InputError: the folder is none, or the manifest was made of another.
    """
    clips, families = read_clips(root)
    plan = plan_retrieval(read_manifest(manifest), tuple(splits), queries)
    pairs = [(clip.id, clip.scene) for clip in clips]
    number_of = {clip.id: number for number, clip in enumerate(clips)}
    if strange := next((identifier for identifier in plan.ids if identifier not in number_of), None):
        raise InputError(f"{manifest}: {strange!r} is no clip of {root}; give the folder that it was built from")
    own = [clips[number_of[identifier]] for identifier in plan.ids]
    scores_CB = _truths(plan, own, families)
    choices, answers, owner_Q = [], [], []
    for row, (item, clip) in enumerate(zip(plan.items, own, strict=True)):
        known = {question.question: question.answer for question in questions_of(clip.scene, families)}
        given, label = options(clip.scene, native_layout.others(pairs, number_of[clip.id]), families)
        for question in item.questions:
            if question.options:
                _check(manifest, item.id, question, given, label)
                choices.append(np.array([option.holds(clip.scene) for option in given], np.float32))
                owner_Q.append(row)
            else:
                answers.append(known.get(question.question) == question.answer)
    correct_Q = accuracy.pick(accuracy.padded(choices), _labels(plan)).expected() if choices else None
    return BaselineResult(
        name="oracle",
        about=ABOUT,
        protocol=plan.name,
        splits=plan.splits,
        videos=len(plan.items),
        manifest_sha256=file_sha256(manifest),
        retrieval=Judge(plan, plan, resamples).both_ways(*rank_both_ways(scores_CB, plan)),
        multiple_choice=None if correct_Q is None else accuracy.percent(correct_Q),
        multiple_choice_interval=None if correct_Q is None else accuracy.interval(
            correct_Q, np.array(owner_Q), resamples=resamples, seed=SEED
        ),
        question_answering=100 * float(np.mean(answers)) if answers else None,
    )  # fmt: skip


def _truths(plan: RetrievalPlan, clips: Sequence[Clip], families: bool) -> NDArray[np.float32]:
    """1 where a sentence [C] is true of a clip [B], else 0."""
    said = [{c.text: c for c in captions_of(clip.scene, native_layout.CAPTIONS, families)} for clip in clips]
    scores_CB = np.zeros((len(plan.sentences), len(clips)), np.float32)
    for row, (sentence, owner) in enumerate(zip(plan.sentences, plan.owner_C.tolist(), strict=True)):
        caption = said[owner].get(sentence)
        if caption is None:
            raise InputError(f"{plan.name}: {plan.ids[owner]}: {sentence!r} is no caption that was made for it")
        scores_CB[row] = [caption.holds(clip.scene) for clip in clips]
    return scores_CB


def _labels(plan: RetrievalPlan) -> NDArray[np.int64]:
    return np.array([q.label for item in plan.items for q in item.questions if q.options], np.int64)


def _check(manifest: Path, identifier: str, question: Question, given: Sequence[Caption], label: int) -> None:
    if (tuple(question.options), question.label) != (tuple(option.text for option in given), label):
        raise InputError(f"{manifest}: {identifier}: its choices are not those that were made for it")
