"""Retrieval by two ranks, as torchrun starts them: the files of one, and one line for a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner

from evaluate.__main__ import main
from evaluate.embedding.store import BLOCKS_A_PART
from evaluate.similarity import SENTENCE_BLOCK
from tests.evaluate.conftest import THINGS
from tests.train.children import Child, start_ranks


def kept(out: Path) -> dict[str, bytes]:
    """All vectors below a folder, by what they are of: the folder's name says what they depend on."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / "embeddings").rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_two_ranks_give_the_files_of_one(model_folder: Path, make_world: Callable[..., Any], tmp_path: Path) -> None:
    said = {thing: tuple(f"the {thing} {other}" for other in THINGS) for thing in THINGS}
    world = make_world(said | {"globe": ("the harp moves", "the globe"), "harp": ("the harp moves",), "inkwell": ()})
    data = ["--model", str(model_folder), "--shards", str(world.shards), "--manifest", str(world.manifest)]
    more = ["--split", "train", "--split", "test", "--dual-softmax", "--device", "cpu", "--batch-size", "1"]
    command = ["retrieval", *data, *more]

    def ranks(out: str, *arguments: str) -> list[Child]:
        folder = tmp_path / f"logs-{out}"
        folder.mkdir(exist_ok=True)
        given = [*command, *arguments, "--out", str(tmp_path / out)]
        return start_ranks(given, folder, 2, package="evaluate")

    together = ranks("two")
    torch.set_num_threads(1)
    alone = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "one")])
    assert alone.exit_code == 0, alone.output
    assert [child.ended() for child in together] == [0, 0], [child.said() for child in together]
    for name in ("retrieval.json", "retrieval.html", "similarity.parquet", "ranks.parquet"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    found = kept(tmp_path / "one")
    assert len(THINGS) > BLOCKS_A_PART and len(set(sum(said.values(), ()))) > SENTENCE_BLOCK  # both ranks have some
    assert len([name for name in found if name.endswith("table.json")]) == 2
    assert kept(tmp_path / "two") == found
    assert "text-to-video R@1" in together[0].said() and "R@1" not in together[1].said()

    world = make_world(absent=["jug"])
    refused = ranks("two", "--cache", str(tmp_path / "elsewhere"))
    assert [child.ended() for child in refused] == [1, 1]
    said = [line for child in refused for line in child.said().splitlines() if line.startswith("Error:")]
    assert len(said) == 1 and "1 of 10 videos of made-up/all are missing" in said[0]
    assert not (tmp_path / "two" / "retrieval.json").exists()
    assert (tmp_path / "two" / "retrieval.missing.jsonl").read_text().count("\n") == 1
