"""Retrieval by the names of what a detector sees, and nothing else: BM25 over class names, one document a video.

What a model of regions and words has to beat: it knows attributes, relations and motion, a bag of objects does not.
Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).

Letters: B videos, C sentences.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.manifest import read_manifest
from data_specs.shard_index import read_labels
from data_specs.shards import file_sha256
from evaluate.baselines.result import BaselineResult
from evaluate.protocol import Queries, plan_retrieval, refusal, write_missing
from evaluate.retrieval import Judge, rank_both_ways
from evaluate.stored import StoredShards, read_stored

RESULT_NAME = "bag_of_objects.json"
ABOUT = "BM25 over the class names of detected objects"


def evaluate_bag_of_objects(
    shards: Path, manifest: Path, out: Path, splits: Sequence[str], queries: Queries | None, confidence: float,
    resamples: int,
) -> BaselineResult:  # fmt: skip
    """Runs the protocol. An object counts in each frame in which the detector is at least so sure of it.

    Raises:
        InputError: the shards are broken, or name no classes.
        MissingItemsError: videos of the protocol are missing; the list is in ``out``.
    """
    stored = read_stored(shards)
    plan = plan_retrieval(read_manifest(manifest), tuple(splits), queries)
    absent = frozenset(plan.ids) - stored.shard_of.keys()
    if absent:
        listed = out / plan.missing_name
        write_missing(listed, plan, absent, stored.failures)
        raise refusal(plan, absent, listed)
    labels = read_labels(shards)
    if not labels:
        raise InputError(f"{shards}: its detector names no classes, so there are no words for objects")
    documents = _documents(stored, plan.ids, labels, confidence)
    scores_CB = score(documents, [terms(sentence) for sentence in plan.sentences])
    return BaselineResult(
        name="bag of objects",
        about=f"{ABOUT} of a confidence of {confidence} or more",
        protocol=plan.name,
        splits=plan.splits,
        videos=len(plan.items),
        manifest_sha256=file_sha256(manifest),
        retrieval=Judge(plan, plan, resamples).both_ways(*rank_both_ways(scores_CB, plan)),
    )


def terms(text: str) -> list[str]:
    """Words, and each two that follow one another, so that a red circle is more than something red and a circle."""
    words = re.findall(r"\w+", text.lower())
    return [*words, *(f"{one} {other}" for one, other in itertools.pairwise(words))]


def score(documents: Sequence[Sequence[str]], queries: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """BM25 (k1 1.5, b 0.75, Lucene's form) of each query [C] with each document [B]."""
    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    number_of = {term: number for number, term in enumerate(sorted({t for document in documents for t in document}))}
    rows = [[number_of[term] for term in document] for document in documents]
    engine.index(bm25s.tokenization.Tokenized(ids=rows, vocab=number_of), show_progress=False)
    scores = np.zeros((len(queries), len(documents)), np.float32)
    for row, query in enumerate(queries):
        known = [term for term in dict.fromkeys(query) if term in number_of]
        if known:
            scores[row] = engine.get_scores(known)
    return scores


def _documents(stored: StoredShards, ids: Sequence[str], labels: Sequence[str], confidence: float) -> list[list[str]]:
    """The terms of the objects of each video, in the order of ``ids``."""
    found: dict[str, list[str]] = {}
    for sample in stored.samples(frozenset(ids)):
        regions = sample.regions
        sure = (regions.scores >= confidence) & (regions.labels >= 0)
        found[sample.id] = [term for label in regions.labels[sure].tolist() for term in terms(labels[label])]
    return [found[identifier] for identifier in ids]
