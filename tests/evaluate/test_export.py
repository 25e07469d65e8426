"""The exported files against the figures: recomputed from the files alone, with nothing but numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from evaluate import export, metrics
from evaluate.__main__ import main
from evaluate.export import Asked, write_ranks, write_similarity
from evaluate.similarity import Scores


def read(path: Path) -> tuple[dict[str, list], dict]:
    table = pq.read_table(path)
    return table.to_pydict(), json.loads(table.schema.metadata[b"regionvlp.retrieval"])


def expected(scores_QT: NDArray, right_QT: NDArray) -> tuple[dict[str, float], list[float]]:
    """Figures and expected ranks, over all orders of equal scores, written out query after query."""
    ranks, within = [], {1: [], 5: [], 10: []}
    for scores_T, right_T in zip(scores_QT, right_QT, strict=True):
        top = scores_T[right_T].max()
        above = int((scores_T > top).sum())
        right, level = int((right_T & (scores_T == top)).sum()), int((scores_T == top).sum())
        ranks.append(above + (level + 1) / (right + 1))
        for k, shares in within.items():
            places = min(max(k - above, 0), level)
            shares.append(1 - math.comb(level - places, right) / math.comb(level, right))
    figures = {f"R@{k}": 100 * float(np.mean(shares)) for k, shares in within.items()}
    recalls = list(figures.values())
    figures |= {"MedR": float(np.median(ranks)), "MeanR": float(np.mean(ranks))}
    return figures | {"GeoMean": 0.0 if min(recalls) <= 0 else math.prod(recalls) ** (1 / 3)}, ranks


def from_similarity(path: Path) -> dict[str, tuple[dict[str, float], list[float]]]:
    """Both directions' figures, from the scores."""
    rows, said = read(path)
    scores_CB = np.array(rows["combined"], np.float32)
    right_CB = np.array(rows["video_id"])[:, None] == np.array(said["video_ids"])[None]
    asks_B = right_CB.any(0)
    return {
        "text_to_video": expected(scores_CB, right_CB),
        "video_to_text": expected(scores_CB.T[asks_B], right_CB.T[asks_B]),
    }


@pytest.fixture
def case() -> tuple[Scores, Asked]:
    """Scores with many ties, a repeated sentence, a video that nothing asks for."""
    generator = torch.Generator().manual_seed(0)
    global_UB, local_UB = (torch.randint(0, 5, (29, 12), generator=generator) / 4 - 0.5 for _ in range(2))
    owner_C = np.concatenate([np.arange(11), np.random.default_rng(0).integers(0, 11, 19)])
    row_C = np.arange(30) % 29
    sentences = [f"sentence {row}, „größer“" for row in row_C]
    return Scores(global_UB, local_UB), Asked([f"v{b}" for b in range(12)], sentences, owner_C, row_C)


def rankings(scores: Scores, asked: Asked) -> tuple[metrics.Ranking, metrics.Ranking]:
    scores_CB, asked_B = scores.combined_UB.numpy()[asked.row_C], np.unique(asked.owner_C)
    by_sentence = metrics.rank(scores_CB, asked.owner_C, np.arange(len(asked.video_ids)))
    return by_sentence, metrics.rank(scores_CB.T[asked_B], asked_B, asked.owner_C)


@pytest.mark.parametrize("scores_a_group", [1, 100, 1 << 20])
def test_figures_come_out_of_either_file_alone(
    case: tuple[Scores, Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores_a_group: int
) -> None:
    monkeypatch.setattr(export, "_SCORES_A_GROUP", scores_a_group)
    scores, asked = case
    both = rankings(scores, asked)
    write_similarity(tmp_path / "similarity.parquet", scores, asked, {"score": "global + local"})
    write_ranks(tmp_path / "ranks.parquet", scores, asked, *both, {"score": "global + local"})
    found = from_similarity(tmp_path / "similarity.parquet")
    ranks, said = read(tmp_path / "ranks.parquet")
    assert said == {"score": "global + local", "version": 1, "video_ids": asked.video_ids}
    for name, ranking in zip(found, both, strict=True):
        figures, expected_ranks = found[name]
        assert figures == pytest.approx(metrics.figures(ranking))
        rows = [i for i, direction in enumerate(ranks["direction"]) if direction == name]
        of = {column: np.array([ranks[column][i] for i in rows]) for column in ranks if column != "right"}
        np.testing.assert_allclose(of["expected_rank"], expected_ranks)
        assert np.array_equal(of["optimistic_rank"], of["above"] + 1)
        level = of["tied"] + of["tied_right"]
        np.testing.assert_allclose(of["above"] + (level + 1) / (of["tied_right"] + 1), expected_ranks)
        assert 100 * np.mean(of["optimistic_rank"] <= 5) == pytest.approx(metrics.optimistic_figures(ranking)["R@5"])


def test_names_and_numbers_belong_together(case: tuple[Scores, Asked], tmp_path: Path) -> None:
    scores, asked = case
    write_similarity(tmp_path / "similarity.parquet", scores, asked, {})
    write_ranks(tmp_path / "ranks.parquet", scores, asked, *rankings(scores, asked), {})
    rows, said = read(tmp_path / "similarity.parquet")
    assert rows["query"] == list(range(30)) and rows["sentence"] == asked.sentences
    assert rows["sentence"][0] == rows["sentence"][29] and rows["combined"][0] == rows["combined"][29]
    for name, table_UB in (("global", scores.global_UB), ("local", scores.local_UB), ("combined", scores.combined_UB)):
        assert rows[name] == table_UB.numpy()[asked.row_C].tolist()
    ranks, ids = read(tmp_path / "ranks.parquet")[0], said["video_ids"]
    for i, direction in enumerate(ranks["direction"]):
        number, best, right = ranks["query"][i], ranks["best"][i], ranks["right"][i]
        forth = direction == "text_to_video"
        texts, others = (rows["sentence"], ids) if forth else (ids, rows["sentence"])
        scored = rows["combined"][number] if forth else [row[number] for row in rows["combined"]]
        assert (ranks["text"][i], ranks["best_text"][i]) == (texts[number], others[best])
        assert ranks["best_score"][i] == max(scored) == scored[best] and best == scored.index(max(scored))
        assert ranks["right_score"][i] == max(scored[r] for r in right)
        owners = [ids[r] for r in right] if forth else [rows["video_id"][r] for r in right]
        assert set(owners) == {rows["video_id"][number] if forth else ids[number]}
    assert sorted(r for i, right in enumerate(ranks["right"]) if i >= 30 for r in right) == list(range(30))


def test_a_score_that_the_model_has_not_is_null(case: tuple[Scores, Asked], tmp_path: Path) -> None:
    whole, asked = case
    scores = Scores(None, whole.local_UB)
    write_similarity(tmp_path / "similarity.parquet", scores, asked, {})
    rows, _ = read(tmp_path / "similarity.parquet")
    assert rows["global"] == [None] * 30 and rows["combined"] == rows["local"]


def test_ranks_of_others_are_refused_and_nothing_is_left(case: tuple[Scores, Asked], tmp_path: Path) -> None:
    scores, asked = case
    by_sentence, by_video = rankings(scores, asked)
    with pytest.raises(ValueError, match=r"text_to_video: ranks of \(11, 30\), 30 x 12 asked"):
        write_ranks(tmp_path / "ranks.parquet", scores, asked, by_video, by_sentence, {})
    with pytest.raises(TypeError):
        write_similarity(tmp_path / "similarity.parquet", scores, asked, {"model": object()})
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_files_that_give_its_figures(model_folder: Path, make_world, tmp_path: Path) -> None:
    world = make_world({"globe": ("the harp moves", "globes"), "harp": ("the harp moves",), "jug": ()})
    given = ["--model", model_folder, "--shards", world.shards, "--manifest", world.manifest, "--out", tmp_path / "out"]
    done = CliRunner().invoke(main, ["retrieval", *map(str, given)])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    for name, (figures, _) in from_similarity(tmp_path / "out" / "similarity.parquet").items():
        assert figures == pytest.approx(result[name]["figures"])
    for name in ("similarity", "ranks"):
        said = read(tmp_path / "out" / f"{name}.parquet")[1]
        assert said["video_ids"] == ["globe", "harp", "inkwell", "jug"]
        for fact in ("protocol", "score", "model_sha256", "manifest_sha256", "shards"):
            assert said[fact] == result[fact]
