"""Text-to-video and video-to-text retrieval: plan, embed, score, rank.

Letters: B videos, C sentences (queries), U distinct sentences, N regions a video, E joint width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from data_specs.errors import InputError
from evaluate import metrics
from evaluate.dual_softmax import dual_softmax
from evaluate.embed import TextTable, VideoTable, embed_sentences, embed_videos
from evaluate.embedding.blocks import share
from evaluate.embedding.store import Progress, Store
from evaluate.inputs import Inputs
from evaluate.options import EvaluationOptions
from evaluate.protocol import Queries, RetrievalPlan, plan_retrieval
from evaluate.result import SEED, BothWays, Direction, RetrievalResult, counted, described
from evaluate.similarity import SENTENCE_BLOCK, Scores, score_matrix, score_parts
from train.distributed import Ranks
from train.model import RegionTextModel

RESULT_NAME = "retrieval.json"


class RetrievalOptions(EvaluationOptions):
    """``queries`` of None means: as the protocol says. ``batch_size`` of None: see ``clips_a_block``."""

    queries: Queries | None = None
    dual_softmax: bool = False
    batch_size: PositiveInt | None = None


@dataclass(frozen=True, eq=False)
class Retrieval:
    """A finished evaluation, with what the report draws from. scores_CB: float32 [C, B], their sum a query."""

    result: RetrievalResult
    plan: RetrievalPlan
    videos: VideoTable
    texts: TextTable
    scores: Scores
    scores_CB: NDArray[np.float32]
    by_sentence: metrics.Ranking
    by_video: metrics.Ranking


def evaluate_retrieval(
    model: RegionTextModel,
    inputs: Inputs,
    out: Path,
    options: RetrievalOptions,
    store: Store | None = None,
    progress: Progress = lambda done, of: None,
) -> Retrieval | None:
    """Runs the protocol, together with the other ranks of the ``store``; what was found is given to the first rank,
    and None to the others. ``progress`` hears how many of how many videos went through the model.

    Raises:
        InputError: the shards do not fit the model or are broken, or the plan is empty.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    ranks = store.ranks if store is not None else Ranks()
    planned, plan = ranks.agree(lambda: _plans(inputs, out, options, ranks.is_first))
    frames, regions = ranks.agree(lambda: inputs.sizes(model.config, options))
    videos = embed_videos(
        model, inputs.stored, plan.ids, frames=frames, regions=regions,
        batch_size=options.batch_size, store=store, progress=progress,
    )  # fmt: skip
    texts = embed_sentences(model, plan.sentences, batch_size=options.batch_size, store=store)
    scores = _scores(model, videos, texts, ranks)
    if scores is None:
        return None
    scores_CB = scores.combined_UB.numpy()[texts.row_C]
    both = rank_both_ways(scores_CB, plan)
    judged = Judge(planned, plan, options.resamples)
    result = RetrievalResult(
        **inputs.facts(planned, plan, frames, regions, options),
        score=score_parts(model.loss),
        queries_rule=plan.queries,
        **dict(judged.both_ways(*both)),
        **_apart(scores, scores_CB, texts, options, judged, float(model.temperature)),
    )
    return Retrieval(result, plan, videos, texts, scores, scores_CB, *both)


def rank_both_ways(
    scores_CB: NDArray[np.floating], plan: RetrievalPlan, scores_BC: NDArray[np.floating] | None = None
) -> tuple[metrics.Ranking, metrics.Ranking]:
    """Sentences that look for their video, and videos that look for the best of their sentences; ``scores_BC`` where
    the second's scores are others. Videos without a caption are candidates, but ask for nothing."""
    asked_B = np.unique(plan.owner_C)
    by_sentence = metrics.rank(scores_CB, plan.owner_C, np.arange(len(plan.items)))
    back = scores_CB.T[asked_B] if scores_BC is None else scores_BC[asked_B]
    return by_sentence, metrics.rank(back, asked_B, plan.owner_C)


def summary(result: RetrievalResult) -> str:
    """The one line of a result: both directions, protocol and counts."""
    forth, back = result.text_to_video, result.video_to_text
    return (
        f"text-to-video {metrics.one_line(forth.figures)} | video-to-text {metrics.one_line(back.figures)}"
        f" ({described(result)}, {counted(forth.queries, forth.queries_planned)} queries,"
        f" {counted(forth.candidates, forth.candidates_planned)} candidates)"
    )


def _plans(inputs: Inputs, out: Path, options: RetrievalOptions, writes: bool) -> tuple[RetrievalPlan, RetrievalPlan]:
    planned = plan_retrieval(inputs.manifest, options.splits, options.queries)
    return planned, inputs.settle(planned, out, options, writes)


def _scores(model: RegionTextModel, videos: VideoTable, texts: TextTable, ranks: Ranks) -> Scores | None:
    """Each rank scores some blocks of sentences; all scores on the first rank, elsewhere None."""
    own = share(math.ceil(len(texts.cls_UE) / SENTENCE_BLOCK), ranks)
    rows = slice(own.start * SENTENCE_BLOCK, own.stop * SENTENCE_BLOCK)

    def work() -> Scores:
        try:
            return score_matrix(videos, texts, model.loss, device=model.device, sentences=rows)
        except ValueError as error:
            raise InputError(f"the model cannot be evaluated: {error}") from None

    scores = ranks.agree(work)
    global_parts, local_parts = (
        None if part is None else ranks.to_first(part) for part in (scores.global_UB, scores.local_UB)
    )
    if not ranks.is_first:
        return None
    return Scores(*(None if parts is None else torch.cat(parts) for parts in (global_parts, local_parts)))


@dataclass(frozen=True)
class Judge:
    """Turns rankings into figures with their counts. resamples: of the bootstrap."""

    planned: RetrievalPlan
    plan: RetrievalPlan
    resamples: int

    def both_ways(self, by_sentence: metrics.Ranking, by_video: metrics.Ranking) -> BothWays:
        """The figures of two rankings, as ``rank_both_ways`` gives them."""
        sentences, videos = len(self.planned.sentences), len(self.planned.items)
        asked_B = np.unique(self.plan.owner_C)
        return BothWays(
            text_to_video=self._direction(by_sentence, self.plan.owner_C, sentences, videos),
            video_to_text=self._direction(by_video, asked_B, len(np.unique(self.planned.owner_C)), sentences),
        )

    def _direction(
        self, ranking: metrics.Ranking, video_Q: NDArray[np.int64], queries: int, candidates: int
    ) -> Direction:
        return Direction(
            figures=metrics.figures(ranking),
            intervals=metrics.intervals(ranking, video_Q, resamples=self.resamples, seed=SEED),
            optimistic=metrics.optimistic_figures(ranking),
            chance=metrics.figures(metrics.chance(ranking)),
            queries=len(ranking),
            queries_planned=queries,
            candidates=ranking.candidates,
            candidates_planned=candidates,
        )


def _apart(
    scores: Scores,
    scores_CB: NDArray[np.float32],
    texts: TextTable,
    options: RetrievalOptions,
    judge: Judge,
    temperature: float,
) -> dict[str, BothWays]:
    """The figures beside those of the sum: of each of its two parts, and after the dual softmax."""
    found = {}
    if scores.global_UB is not None and scores.local_UB is not None:
        for name, part_UB in (("global_alone", scores.global_UB), ("local_alone", scores.local_UB)):
            found[name] = judge.both_ways(*rank_both_ways(part_UB.numpy()[texts.row_C], judge.plan))
    if options.dual_softmax:
        forth_CB = dual_softmax(scores_CB, temperature)
        found["dual_softmax"] = judge.both_ways(
            *rank_both_ways(forth_CB, judge.plan, dual_softmax(scores_CB.T, temperature))
        )
    return found
