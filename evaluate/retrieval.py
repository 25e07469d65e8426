"""Text-to-video and video-to-text retrieval: plan, embed, score, rank.

Letters: B videos, C sentences (queries), U distinct sentences, N regions a video, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from data_specs.errors import InputError
from evaluate import metrics
from evaluate.embed import TextTable, VideoTable, embed_sentences, embed_videos
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.protocol import (
    Queries,
    RetrievalPlan,
    plan_retrieval,
)
from evaluate.result import SEED, Direction, RetrievalResult, counted, described
from evaluate.similarity import score_matrix, score_parts
from train.model import RegionTextModel

RESULT_NAME = "retrieval.json"


class RetrievalOptions(EvaluationOptions):
    """``queries`` of None means: as the protocol says."""

    queries: Queries | None = None
    batch_size: PositiveInt | None = None


@dataclass(frozen=True, eq=False)
class Retrieval:
    """A finished evaluation, with what the report draws from. scores_CB: float32 [C, B]."""

    result: RetrievalResult
    plan: RetrievalPlan
    videos: VideoTable
    texts: TextTable
    scores_CB: NDArray[np.float32]
    by_sentence: metrics.Ranking
    by_video: metrics.Ranking


def evaluate_retrieval(
    model: RegionTextModel,
    inputs: Inputs,
    out: Path,
    options: RetrievalOptions,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Retrieval:
    """Runs the protocol. ``progress`` hears how many of how many videos went through the model.

    Raises:
        InputError: the shards do not fit the model or are broken, or the plan is empty.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    planned = plan_retrieval(inputs.manifest, options.splits, options.queries)
    plan = inputs.settle(planned, out, options.allow_missing)
    frames, regions = inputs.sizes(model.config, options)
    videos = embed_videos(
        model,
        inputs.stored,
        plan.ids,
        frames=frames,
        regions=regions,
        batch_size=options.batch_size,
        progress=progress,
    )
    texts = embed_sentences(model, plan.sentences)
    try:
        scores_UB = score_matrix(videos, texts, model.loss, device=model.device).combined_UB.numpy()
    except ValueError as error:
        raise InputError(f"the model cannot be evaluated: {error}") from None
    scores_CB = scores_UB[texts.row_C]
    rows_B = np.arange(len(plan.items))
    by_sentence = metrics.rank(scores_CB, plan.owner_C, rows_B)
    asked_B = np.unique(plan.owner_C)  # videos without a caption are candidates, but ask for nothing
    by_video = metrics.rank(scores_CB.T[asked_B], asked_B, plan.owner_C)
    result = RetrievalResult(
        **inputs.facts(planned, plan, frames, regions, options),
        score=score_parts(model.loss),
        queries_rule=plan.queries,
        text_to_video=_direction(by_sentence, plan.owner_C, options, len(planned.sentences), len(planned.items)),
        video_to_text=_direction(by_video, asked_B, options, len(np.unique(planned.owner_C)), len(planned.sentences)),
    )
    return Retrieval(result, plan, videos, texts, scores_CB, by_sentence, by_video)


def summary(result: RetrievalResult) -> str:
    """The one line of a result: both directions, protocol and counts."""
    forth, back = result.text_to_video, result.video_to_text
    return (
        f"text-to-video {metrics.one_line(forth.figures)} | video-to-text {metrics.one_line(back.figures)}"
        f" ({described(result)}, {counted(forth.queries, forth.queries_planned)} queries,"
        f" {counted(forth.candidates, forth.candidates_planned)} candidates)"
    )


def _direction(
    ranking: metrics.Ranking, video_Q: NDArray[np.int64], options: RetrievalOptions, queries: int, candidates: int
) -> Direction:
    return Direction(
        figures=metrics.figures(ranking),
        intervals=metrics.intervals(ranking, video_Q, resamples=options.resamples, seed=SEED),
        optimistic=metrics.optimistic_figures(ranking),
        chance=metrics.figures(metrics.chance(ranking)),
        queries=len(ranking),
        queries_planned=queries,
        candidates=ranking.candidates,
        candidates_planned=candidates,
    )
