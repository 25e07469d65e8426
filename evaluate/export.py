"""Scores and ranks of a retrieval as Parquet, so that anyone can recompute its figures.

Letters: B videos, C sentences that ask, U distinct sentences, Q queries and T candidates of one direction, q queries of
a part.

``similarity.parquet``: a row a sentence that asks.

- ``query``: int64, its number, from 0. ``sentence``: string. ``video_id``: string, of the video that is right.
- ``combined``, ``global``, ``local``: lists of B float32, its scores with all videos in the order of ``video_ids``;
  videos are ranked by the first, which is the sum of the other two. A score that the model has not is null.

``ranks.parquet``: a row a query of each direction.

- ``direction``: ``text_to_video`` (a sentence looks for its video) or ``video_to_text`` (a video for one of its own).
- ``query``: int64, number of the sentence in ``similarity.parquet``, or place of the video in ``video_ids``.
- ``text``: string, the sentence or the video's id. ``right``: list of int64, the right candidates' numbers.
- ``expected_rank``: float64, from 1, that of the best right candidate, on average over all orders of equal scores.
- ``optimistic_rank``: int64, if every tie were broken in the model's favour.
- ``above``, ``tied``: int64, wrong candidates that score more than the best right one, and as much. ``tied_right``:
  int64, right ones that score as much, itself included.
- ``best``: int64, number of the first of the highest candidates. ``best_text``: its id or sentence. ``best_score`` and
  ``right_score``: float32, of it and of the best right candidate.

Both files say in their metadata, under ``regionvlp.retrieval`` as JSON: ``version`` of the format, ``video_ids``, and
what the caller knows (protocol, how scores are made, SHA-256 of model, shards and manifest).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from data_specs import atomic
from evaluate import metrics
from evaluate.similarity import Scores

SIMILARITY_NAME = "similarity.parquet"
RANKS_NAME = "ranks.parquet"
METADATA_KEY = b"regionvlp.retrieval"
VERSION = 1
_SCORES_A_GROUP = 1 << 20  # of each kind, 4 MiB

_LIST = pa.list_(pa.float32())
_SIMILARITY = pa.schema(
    [
        ("query", pa.int64()),
        ("sentence", pa.string()),
        ("video_id", pa.string()),
        ("combined", _LIST),
        ("global", _LIST),
        ("local", _LIST),
    ]
)
_RANKS = pa.schema(
    [
        ("direction", pa.string()),
        ("query", pa.int64()),
        ("text", pa.string()),
        ("right", pa.list_(pa.int64())),
        ("expected_rank", pa.float64()),
        ("optimistic_rank", pa.int64()),
        ("above", pa.int64()),
        ("tied", pa.int64()),
        ("tied_right", pa.int64()),
        ("best", pa.int64()),
        ("best_text", pa.string()),
        ("best_score", pa.float32()),
        ("right_score", pa.float32()),
    ]
)


@dataclass(frozen=True, eq=False)
class Asked:
    """What was asked of which videos. video_ids: B. sentences: C. owner_C: each one's own video (its row). row_C: each
    one's row in the scores, which equal sentences share."""

    video_ids: Sequence[str]
    sentences: Sequence[str]
    owner_C: NDArray[np.integer]
    row_C: NDArray[np.integer]


def write_similarity(path: Path, scores: Scores, asked: Asked, facts: Mapping[str, Any]) -> None:
    """Writes ``similarity.parquet`` atomically, some sentences at a time. facts: what the metadata says besides.

    Raises:
        OSError: the disk refuses.
    """
    with _writer(path, _SIMILARITY, asked, facts) as writer:
        for part in _parts(len(asked.sentences), len(asked.video_ids)):
            global_qB, local_qB = (_rows(table, asked.row_C[part]) for table in (scores.global_UB, scores.local_UB))
            columns = [
                pa.array(np.arange(part.start, part.stop)),
                pa.array(asked.sentences[part], pa.string()),
                pa.array([asked.video_ids[row] for row in asked.owner_C[part]], pa.string()),
                *(_lists(table, part) for table in (_sum(global_qB, local_qB), global_qB, local_qB)),
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SIMILARITY))


def write_ranks(
    path: Path,
    scores: Scores,
    asked: Asked,
    by_sentence: metrics.Ranking,
    by_video: metrics.Ranking,
    facts: Mapping[str, Any],
) -> None:
    """Writes ``ranks.parquet`` atomically. ``by_video`` ranks sentences for the videos that have one, in their order.

    Raises:
        OSError: the disk refuses.
        ValueError: a ranking is of other queries or candidates.
    """
    numbers_B, asked_B = np.arange(len(asked.video_ids)), np.unique(asked.owner_C)
    forth = _Direction(
        "text_to_video", by_sentence, np.arange(len(asked.sentences)), asked.owner_C, numbers_B,
        asked.sentences, asked.video_ids,
    )  # fmt: skip
    back = _Direction("video_to_text", by_video, asked_B, asked_B, asked.owner_C, asked.video_ids, asked.sentences)
    with _writer(path, _RANKS, asked, facts) as writer:
        for part in _parts(len(asked.sentences), len(numbers_B)):
            scores_qB = _sum(*(_rows(table, asked.row_C[part]) for table in (scores.global_UB, scores.local_UB)))
            writer.write_batch(forth.batch(part, scores_qB))
        for part in _parts(len(asked_B), len(asked.sentences)):
            columns = asked_B[part]
            tables = (table if table is None else table[:, columns] for table in (scores.global_UB, scores.local_UB))
            writer.write_batch(back.batch(part, _sum(*(_rows(table, asked.row_C) for table in tables)).T))


@dataclass(frozen=True, eq=False)
class _Direction:
    """Q queries and T candidates. number_Q: of the query in the file. A candidate is right where ``candidate_T`` is
    the query's ``query_Q``. query_texts: by number."""

    name: str
    ranking: metrics.Ranking
    number_Q: NDArray[np.integer]
    query_Q: NDArray[np.integer]
    candidate_T: NDArray[np.integer]
    query_texts: Sequence[str]
    candidate_texts: Sequence[str]

    def __post_init__(self) -> None:
        ranked = (len(self.ranking), self.ranking.candidates)
        if ranked != (len(self.query_Q), len(self.candidate_T)):
            raise ValueError(f"{self.name}: ranks of {ranked}, {len(self.query_Q)} x {len(self.candidate_T)} asked")

    def batch(self, part: slice, scores_qT: NDArray[np.float32]) -> pa.RecordBatch:
        """The rows of some queries."""
        right_qT = self.candidate_T == self.query_Q[part, None]
        best_q, numbers_q = scores_qT.argmax(1), self.number_Q[part]
        columns = {
            "direction": [self.name] * len(numbers_q),
            "query": numbers_q,
            "text": [self.query_texts[number] for number in numbers_q],
            "right": [np.flatnonzero(right_T) for right_T in right_qT],
            "expected_rank": self.ranking.expected()[part],
            "optimistic_rank": self.ranking.optimistic()[part].astype(np.int64),
            "above": self.ranking.above_Q[part],
            "tied": self.ranking.tied_Q[part],
            "tied_right": self.ranking.best_Q[part],
            "best": best_q,
            "best_text": [self.candidate_texts[number] for number in best_q],
            "best_score": scores_qT.max(1),
            "right_score": np.where(right_qT, scores_qT, -np.inf).max(1),
        }
        return pa.record_batch([pa.array(columns[field.name], field.type) for field in _RANKS], schema=_RANKS)


def _rows(table_UB: Tensor | None, rows_q: NDArray[np.integer]) -> NDArray[np.float32] | None:
    return None if table_UB is None else table_UB.numpy()[rows_q]


def _sum(*parts: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return reduce(np.add, [part for part in parts if part is not None])


def _lists(table_qB: NDArray[np.float32] | None, part: slice) -> pa.Array:
    count = part.stop - part.start
    if table_qB is None:
        return pa.nulls(count, _LIST)
    starts = np.arange(count + 1, dtype=np.int32) * table_qB.shape[1]
    return pa.ListArray.from_arrays(starts, table_qB.reshape(-1))


def _parts(queries: int, candidates: int) -> Iterator[slice]:
    step = max(1, _SCORES_A_GROUP // candidates)
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


@contextmanager
def _writer(path: Path, schema: pa.Schema, asked: Asked, facts: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Scores have no two alike, so there is no dictionary of them; split into their bytes they take a sixth less."""
    said = {**facts, "version": VERSION, "video_ids": list(asked.video_ids)}
    schema = schema.with_metadata({METADATA_KEY: json.dumps(said, ensure_ascii=False).encode()})
    texts = [field.name for field in schema if field.type == pa.string()]
    floats = [f"{field.name}.list.element" for field in schema if field.type == _LIST]
    with (
        atomic.replacing(path) as temporary,
        pq.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=texts, use_byte_stream_split=floats
        ) as writer,
    ):
        yield writer
