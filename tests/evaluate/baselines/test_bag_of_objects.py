"""BM25 over class names: the formula, and a protocol from shards to figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from data_specs.shard_index import write_labels
from evaluate.__main__ import main
from evaluate.baselines.bag_of_objects import score, terms


def test_terms_are_words_and_neighbours() -> None:
    assert terms("a Red circle, rises") == ["a", "red", "circle", "rises", "a red", "red circle", "circle rises"]
    assert terms("") == []


def bm25(documents: list[list[str]], query: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """The formula, word by word (Lucene's form: idf = log(1 + (N - n + 0.5) / (n + 0.5)), no k1 + 1 above)."""
    mean = sum(map(len, documents)) / len(documents)
    found = []
    for document in documents:
        total = 0.0
        for term in dict.fromkeys(query):
            n, often = sum(term in other for other in documents), document.count(term)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            total += idf * often / (often + k1 * (1 - b + b * len(document) / mean)) if n else 0.0
        found.append(total)
    return found


def test_scores_are_the_formulas() -> None:
    documents = [["red", "circle", "red"], ["blue", "circle"], ["star"], ["red", "star", "star", "cross", "ring"]]
    queries = [["red", "circle"], ["star"], ["anvil"], ["red", "red"]]
    found = score(documents, queries)
    assert found.shape == (4, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, [bm25(documents, query) for query in queries], rtol=1e-5)
    assert not found[2].any()


@pytest.fixture
def command(make_world, tmp_path):
    def run(*more: str, labels: bool = True, **world: object):
        made = make_world(**world)
        write_labels(made.shards, tuple(f"thing {number}" for number in range(40)) if labels else ())
        given = ["--shards", str(made.shards), "--manifest", str(made.manifest), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(main, ["bag-of-objects", *given, *more])

    return run


def test_a_protocol_from_shards_to_figures(command, tmp_path) -> None:
    result = command("--split", "train", "--split", "test", "--confidence", "0")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/bag_of_objects.json").read_text())
    direction = found["retrieval"]["text_to_video"]
    assert (direction["queries"], direction["candidates"], found["videos"]) == (20, 10, 10)
    # no caption speaks of "thing 3": all tie, and get what chance gets
    assert direction["figures"] == direction["chance"]


def test_what_cannot_be_said_is_one_line(command, tmp_path) -> None:
    missing = command(absent=["jug"])
    assert missing.exit_code == 1 and "1 of 4 videos of made-up/all are missing" in missing.output
    assert (tmp_path / "out/retrieval.missing.jsonl").read_text().count("\n") == 1
    assert not (tmp_path / "out/bag_of_objects.json").exists()
    nameless = command(labels=False)
    assert nameless.exit_code == 2 and "names no classes" in nameless.output
