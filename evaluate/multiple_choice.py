"""Multiple choice: of a question's options the one that the model scores highest with the video. Nothing is trained.

Letters: B videos, U distinct sentences, Q questions, K options of one question.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from data_specs import atomic
from data_specs.errors import InputError
from evaluate import accuracy
from evaluate.embed import TextTable, VideoTable, embed_sentences, embed_videos
from evaluate.embedding.blocks import share
from evaluate.embedding.store import Progress, Store
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.questions import QuestionPlan, settled_questions
from evaluate.result import SEED, MultipleChoiceResult, counted, described
from evaluate.similarity import score_pairs, score_parts
from evaluate.tables import write_table
from train.distributed import Ranks
from train.model import RegionTextModel

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
    """``batch_size`` of None: see ``clips_a_block``."""

    batch_size: PositiveInt | None = None


@dataclass(frozen=True, eq=False)
class Choices:
    """A finished evaluation, with what the page draws from.

    texts: all options of all questions, in their order. scores: of each question's options, float32 [K]. picks: the
    options at the top. correct_Q: float64 [Q], 1 where the right option has the highest score alone, 1/k where it
    shares it with k - 1 others, else 0.
    """

    result: MultipleChoiceResult
    plan: QuestionPlan
    videos: VideoTable
    texts: TextTable
    scores: list[NDArray[np.float32]]
    picks: accuracy.Picks
    correct_Q: NDArray[np.float64]


def evaluate_multiple_choice(
    model: RegionTextModel,
    inputs: Inputs,
    out: Path,
    options: MultipleChoiceOptions,
    store: Store | None = None,
    progress: Progress = lambda done, of: None,
) -> Choices | None:
    """Runs the protocol, together with the other ranks of the ``store``; what was found is given to the first rank,
    and None to the others. ``progress`` hears how many more of how many videos went through the model.

    Raises:
        InputError: the shards do not fit the model or are broken, or nobody asks a multiple choice.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    ranks = store.ranks if store is not None else Ranks()
    planned, plan = settled_questions(inputs, "multiple-choice", out, options, ranks)
    frames, regions = ranks.agree(lambda: inputs.sizes(model.config, options))
    videos = embed_videos(
        model, inputs.stored, plan.ids, frames=frames, regions=regions,
        batch_size=options.batch_size, store=store, progress=progress,
    )  # fmt: skip
    sentences = [option for q in plan.questions for option in q.options]
    texts = embed_sentences(model, sentences, batch_size=options.batch_size, store=store)
    scores = _scores(model, plan, videos, texts, ranks)
    if scores is None:
        return None
    picks = accuracy.pick(accuracy.padded(scores), np.array([q.label for q in plan.questions]))
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
    return Choices(result, plan, videos, texts, scores, picks, correct_Q)


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
    write_table(folder / TABLE_NAME, columns, SCHEMA)
    atomic.write_text(folder / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")


def summary(result: MultipleChoiceResult) -> str:
    """The one line of a result: accuracy, interval, chance, protocol and counts."""
    low, high = result.accuracy_interval
    return (
        f"accuracy {result.accuracy:.1f} (95 % {low:.1f} to {high:.1f}, chance {result.chance:.1f})"
        f" ({described(result)}, {counted(result.questions, result.questions_planned)} questions,"
        f" {counted(result.videos, result.videos_planned)} videos)"
    )


def _scores(
    model: RegionTextModel, plan: QuestionPlan, videos: VideoTable, texts: TextTable, ranks: Ranks
) -> list[NDArray[np.float32]] | None:
    """The scores of each question's options on the first rank, elsewhere None. Each rank scores some videos, one at a
    time; a sentence that stands twice among a video's options is scored once."""
    rows_Q = np.split(texts.row_C, np.cumsum([len(q.options) for q in plan.questions])[:-1])

    def work() -> Tensor:
        found = [torch.empty(0)]
        for owner in share(len(plan.items), ranks):
            first, last = np.searchsorted(plan.owner_Q, [owner, owner + 1])
            rows, place = np.unique(np.concatenate(rows_Q[first:last]), return_inverse=True)
            vectors = videos.cls_BE[owner], videos.regions_BNE[owner], videos.mask_BN[owner]
            try:
                scores = score_pairs(*vectors, texts, rows.tolist(), model.loss, device=model.device)
            except ValueError as error:
                raise InputError(f"the model cannot be evaluated: {error}") from None
            found.append(scores[torch.from_numpy(place)])
        return torch.cat(found)

    parts = ranks.to_first(ranks.agree(work))
    if not ranks.is_first:
        return None
    return [scores.numpy() for scores in torch.cat(parts).split([len(rows) for rows in rows_Q])]
