"""Text-to-video and video-to-text retrieval: plan, embed, score, rank.

Letters: B videos, C sentences (queries), U distinct sentences, N regions a video, E joint width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from data_specs.configuration import Settings
from data_specs.errors import InputError
from data_specs.manifest import Manifest
from data_specs.shards import Provenance, file_sha256
from evaluate import metrics
from evaluate.embed import TextTable, VideoTable, embed_sentences, embed_videos
from evaluate.protocol import (
    DEFAULT_SPLITS,
    Queries,
    RetrievalPlan,
    plan_retrieval,
    refusal,
    without,
    write_missing,
)
from evaluate.similarity import score_matrix, score_parts
from evaluate.stored import StoredShards, read_stored
from train.model import RegionTextModel

MISSING_NAME = "missing.jsonl"
RESULT_NAME = "retrieval.json"
SEED = 0


class RetrievalOptions(Settings):
    """What may be chosen. ``queries``, ``frames`` and ``regions`` of None mean: as protocol, shards and model say."""

    splits: tuple[str, ...] = DEFAULT_SPLITS
    queries: Queries | None = None
    frames: PositiveInt | None = None
    regions: PositiveInt | None = None
    allow_missing: bool = False
    batch_size: PositiveInt = 32
    resamples: PositiveInt = 1000
    note: str = ""


class Direction(Settings):
    """Figures of one direction. Recalls are in percent; intervals are 95 % bootstrap over videos.

    ``optimistic`` breaks ties in the model's favour, ``chance`` is what a constant score gets.
    """

    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    optimistic: dict[str, float]
    chance: dict[str, float]
    queries: int
    queries_planned: int
    candidates: int
    candidates_planned: int


class RetrievalResult(Settings):
    """All of ``retrieval.json``: figures, and everything that they depend on."""

    task: str = "retrieval"
    protocol: str
    splits: tuple[str, ...]
    queries_rule: Queries
    text_to_video: Direction
    video_to_text: Direction
    videos: int
    videos_planned: int
    missing: int
    missing_list: str | None
    frames: int
    regions: int
    score: str
    ties: str = "expected over all orders"
    bootstrap: dict[str, int]
    model_sha256: str
    manifest_sha256: str
    shards: Provenance
    note: str = ""


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
    model_sha256: str,
    shards: Path,
    manifest: Manifest,
    manifest_sha256: str,
    out: Path,
    options: RetrievalOptions,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Retrieval:
    """Runs the protocol. ``progress`` hears how many of how many videos went through the model.

    Raises:
        InputError: the shards do not fit the model or are broken, or the plan is empty.
        MissingItemsError: items of the protocol are missing and ``allow_missing`` is off; the list is in ``out``.
    """
    planned = plan_retrieval(manifest, options.splits, options.queries)
    stored = read_stored(shards)
    plan = settle_missing(planned, stored, out, options.allow_missing)
    frames, regions = _sizes(model, stored.provenance, options)
    videos = embed_videos(
        model,
        stored,
        plan.ids,
        frames=frames,
        regions=regions,
        batch_size=options.batch_size,
        progress=lambda done: progress(done, len(plan.ids)),
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
    absent = len(planned.items) - len(plan.items)
    result = RetrievalResult(
        protocol=plan.name,
        splits=plan.splits,
        queries_rule=plan.queries,
        text_to_video=_direction(by_sentence, plan.owner_C, options, len(planned.sentences), len(planned.items)),
        video_to_text=_direction(by_video, asked_B, options, len(np.unique(planned.owner_C)), len(planned.sentences)),
        videos=len(plan.items),
        videos_planned=len(planned.items),
        missing=absent,
        missing_list=MISSING_NAME if absent else None,
        frames=frames,
        regions=regions,
        score=score_parts(model.loss),
        bootstrap={"resamples": options.resamples, "seed": SEED},
        model_sha256=model_sha256,
        manifest_sha256=manifest_sha256,
        shards=stored.provenance,
        note=options.note,
    )
    return Retrieval(result, plan, videos, texts, scores_CB, by_sentence, by_video)


def settle_missing(plan: RetrievalPlan, stored: StoredShards, out: Path, allow: bool) -> RetrievalPlan:
    """The plan as it can be run: itself when nothing is missing, else a refusal, or the rest where that is allowed.

    Raises:
        MissingItemsError: something is missing and ``allow`` is off.
    """
    listed = out / MISSING_NAME
    absent = frozenset(plan.ids) - stored.shard_of.keys()
    if not absent:
        listed.unlink(missing_ok=True)
        return plan
    write_missing(listed, plan, absent, stored.failures)
    if not allow:
        raise refusal(plan, absent, listed)
    return without(plan, absent)


def model_hash(folder: Path) -> str:
    """SHA-256 over names and contents of a model folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def counted(number: int, planned: int) -> str:
    """``10``, or ``9/10`` when some are missing."""
    return f"{number}" if number == planned else f"{number}/{planned}"


def summary(result: RetrievalResult) -> str:
    """The one line of a result: both directions, protocol and counts."""
    forth, back = result.text_to_video, result.video_to_text
    splits = "" if result.splits == DEFAULT_SPLITS else f", split {'+'.join(result.splits)}"
    return (
        f"text-to-video {metrics.one_line(forth.figures)} | video-to-text {metrics.one_line(back.figures)}"
        f" ({result.protocol}{splits}, {counted(forth.queries, forth.queries_planned)} queries,"
        f" {counted(forth.candidates, forth.candidates_planned)} candidates)"
    )


def _sizes(model: RegionTextModel, made: Provenance, options: RetrievalOptions) -> tuple[int, int]:
    """F and R: as many as asked, else as many as both model and shards have."""
    if made.feature_dim != model.config.feature_dim:
        raise InputError(
            f"the shards' features are {made.feature_dim} wide (detector {made.detector}), the model reads"
            f" {model.config.feature_dim}: extract with the detector that the model was trained on"
        )
    sizes = []
    for name in ("frames", "regions"):
        asked, most = getattr(options, name), getattr(model.config, name)
        if asked is not None and asked > most:
            raise InputError(f"--{name} {asked}: the model was made for at most {most}")
        if asked is not None and asked > getattr(made, name):
            raise InputError(f"--{name} {asked}: the shards hold {getattr(made, name)}")
        sizes.append(asked or min(most, getattr(made, name)))
    return sizes[0], sizes[1]


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
