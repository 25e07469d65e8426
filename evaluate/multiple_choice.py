"""Multiple choice: of a question's options the one that the model scores highest with the video. Nothing is trained.

Letters: B videos, U distinct sentences, Q questions, K options of one question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import PositiveInt

from data_specs import atomic
from evaluate import accuracy
from evaluate.embed import TextTable, VideoTable, batches, embed_sentences, embed_videos
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.questions import QuestionPlan, plan_questions
from evaluate.result import SEED, MultipleChoiceResult, counted, described
from evaluate.similarity import score_matrix, score_parts
from evaluate.stored import StoredShards
from train.model import RegionTextModel

_VIDEOS_AT_ONCE = 256
RESULT_NAME = "multiple_choice.json"
TABLE_NAME = "choices.parquet"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("video", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("label", pa.int32()),
        ("scores", pa.list_(pa.float32())),
        ("predicted", pa.int32()),
        ("correct", pa.float64()),
    ]
)


class MultipleChoiceOptions(EvaluationOptions):
    """batch_size: videos that go through the model together; the result does not depend on it."""

    batch_size: PositiveInt = 32


@dataclass(frozen=True, eq=False)
class Choices:
    """A finished evaluation, with what the page draws from.

    scores: of each question's options, float32 [K]. picks: the options at the top. correct_Q: float64 [Q], 1 where the
    right option has the highest score alone, 1/k where it shares it with k - 1 others, else 0.
    """

    result: MultipleChoiceResult
    plan: QuestionPlan
    scores: list[NDArray[np.float32]]
    picks: accuracy.Picks
    correct_Q: NDArray[np.float64]


def evaluate_multiple_choice(
    model: RegionTextModel,
    inputs: Inputs,
    out: Path,
    options: MultipleChoiceOptions,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Choices:
    """Runs the protocol. ``progress`` hears how many of how many videos went through the model.

    Raises:
        InputError: the shards do not fit the model or are broken, or nobody asks a multiple choice.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    planned = plan_questions(inputs.manifest, "multiple-choice", options.splits)
    plan = inputs.settle(planned, out, options.allow_missing)
    frames, regions = inputs.sizes(model.config, options)
    texts = embed_sentences(model, [option for q in plan.questions for option in q.options])
    scores: dict[int, NDArray[np.float32]] = {}
    for videos in _blocks(model, inputs.stored, plan.ids, frames, regions, options.batch_size):
        scores |= _scored(model, plan, videos, texts)
        progress(len(videos.ids), len(plan.ids))
    ordered = [scores[q] for q in range(len(plan.questions))]
    picks = accuracy.pick(accuracy.padded(ordered), np.array([q.label for q in plan.questions]))
    correct_Q, sizes = picks.expected(), [len(q.options) for q in plan.questions]
    result = MultipleChoiceResult(
        **inputs.facts(planned, plan, frames, regions, options),
        score=score_parts(model.loss),
        accuracy=accuracy.percent(correct_Q),
        accuracy_interval=accuracy.interval(correct_Q, plan.owner_Q, resamples=options.resamples, seed=SEED),
        optimistic=accuracy.percent(picks.optimistic()),
        chance=accuracy.chance(np.array(sizes)),
        questions=len(plan.questions),
        questions_planned=len(planned.questions),
        options=dict(sorted(Counter(sizes).items())),
    )
    return Choices(result, plan, ordered, picks, correct_Q)


def write_choices(folder: Path, found: Choices) -> None:
    """Writes ``choices.parquet``, one row a question, and then ``multiple_choice.json``."""
    plan = found.plan
    columns = [
        [q.key for q in plan.questions],
        [plan.ids[owner] for owner in plan.owner_Q.tolist()],
        [q.question for q in plan.questions],
        [q.options for q in plan.questions],
        [q.label for q in plan.questions],
        found.scores,
        found.picks.first_Q,
        found.correct_Q,
    ]
    table = pa.table([pa.array(c, field.type) for c, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    with atomic.replacing(folder / TABLE_NAME) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    atomic.write_text(folder / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")


def summary(result: MultipleChoiceResult) -> str:
    """The one line of a result: accuracy, interval, chance, protocol and counts."""
    low, high = result.accuracy_interval
    return (
        f"accuracy {result.accuracy:.1f} (95 % {low:.1f} to {high:.1f}, chance {result.chance:.1f})"
        f" ({described(result)}, {counted(result.questions, result.questions_planned)} questions,"
        f" {counted(result.videos, result.videos_planned)} videos)"
    )


def _blocks(
    model: RegionTextModel, shards: StoredShards, ids: Sequence[str], frames: int, regions: int, batch_size: int
) -> Iterator[VideoTable]:
    """The videos ``ids``, a shard after the other, so many at a time that memory stays bounded."""
    by_tar: dict[Path, list[str]] = {}
    for identifier in ids:
        by_tar.setdefault(shards.shard_of[identifier], []).append(identifier)
    for held in by_tar.values():
        for block in batches(held, _VIDEOS_AT_ONCE):
            yield embed_videos(model, shards, block, frames=frames, regions=regions, batch_size=batch_size)


def _scored(
    model: RegionTextModel, plan: QuestionPlan, videos: VideoTable, texts: TextTable
) -> dict[int, NDArray[np.float32]]:
    """The scores of the options of all questions about some videos, by question."""
    option_rows = np.split(texts.row_C, np.cumsum([len(q.options) for q in plan.questions])[:-1])
    row_of = {identifier: row for row, identifier in enumerate(plan.ids)}
    found = {}
    for b, identifier in enumerate(videos.ids):
        first, last = np.searchsorted(plan.owner_Q, [row_of[identifier], row_of[identifier] + 1])
        rows = np.unique(np.concatenate(option_rows[first:last]))
        scores_U = score_matrix(_one_video(videos, b), _sentences(texts, rows), model.loss, device=model.device)
        for q in range(first, last):
            found[q] = scores_U[np.searchsorted(rows, option_rows[q]), 0].numpy()
    return found


def _one_video(videos: VideoTable, b: int) -> VideoTable:
    one = slice(b, b + 1)
    return VideoTable(
        videos.ids[one], videos.cls_BE[one], videos.regions_BNE[one], videos.mask_BN[one], videos.looks[one]
    )


def _sentences(texts: TextTable, rows: NDArray[np.int64]) -> TextTable:
    padded = None if texts.padded_ULE is None else texts.padded_ULE[rows]
    mask = None if texts.mask_UL is None else texts.mask_UL[rows]
    words, tokens = ([column[row] for row in rows] for column in (texts.words, texts.tokens))
    return TextTable(np.arange(len(rows)), texts.cls_UE[rows], tuple(words), tuple(tokens), padded, mask)
