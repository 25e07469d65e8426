"""Exit codes and messages of ``python -m evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import BertConfig, BertModel, BertTokenizerFast

from evaluate.__main__ import main
from evaluate.result import RetrievalResult
from train.config import ModelConfig
from train.model import RegionTextModel


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, untrained model of the smallest size, saved as a run saves it."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "moves", "globe", "harp", "jug", "##s"]
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = folder / "text"
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(text)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(text)
    chosen = {"feature_dim": 17, "width": 16, "depth": 1, "heads": 2, "joint_dim": 8, "regions": 4, "frames": 3}
    config = ModelConfig.model_validate({**chosen, "text_encoder": str(text)})
    RegionTextModel.create(config).save_pretrained(folder / "model")
    return folder / "model"


class Command:
    def __init__(self, model: Path, make_world: object, folder: Path) -> None:
        self.make_world, self.folder = make_world, folder
        self.given = {"--model": model, "--out": folder / "out"}

    def __call__(self, *more: str, world: object = None, **changed: object) -> Result:
        made = world or self.make_world()
        options = self.given | {"--shards": made.shards, "--manifest": made.manifest}
        options |= {f"--{name}": value for name, value in changed.items()}
        arguments = ["retrieval", *(str(part) for pair in options.items() for part in pair), *more]
        return CliRunner().invoke(main, arguments)


@pytest.fixture
def command(model_folder, make_world, tmp_path) -> Command:
    return Command(model_folder, make_world, tmp_path)


def test_a_run_writes_result_and_page(command) -> None:
    result = command("--split", "train", "--split", "test", "--queries", "first", "--note", "only a test")
    assert result.exit_code == 0, result.output
    assert (
        "text-to-video R@1" in result.stdout
        and "(made-up/all, split train+test, setting unknown, 10 queries, 10 candidates)" in result.stdout
    )
    out = command.folder / "out"
    stored = RetrievalResult.model_validate_json((out / "retrieval.json").read_bytes())
    assert stored.note == "only a test" and stored.text_to_video.queries == 10
    assert len(stored.model_sha256) == len(stored.manifest_sha256) == 64
    assert stored.shards.detector == "none"
    assert "only a test" in (out / "retrieval.html").read_text()


def test_the_same_run_gives_the_same_files(command) -> None:
    files = []
    for _ in range(2):
        assert command().exit_code == 0
        files.append([(command.folder / "out" / f"retrieval.{end}").read_bytes() for end in ("json", "html")])
    assert files[0] == files[1]


def test_missing_items_exit_1_with_one_line(command, make_world) -> None:
    world = make_world(absent=["jug"])
    result = command(world=world)
    assert result.exit_code == 1
    assert "1 of 4 videos of made-up/all are missing" in result.stderr
    assert "--allow-missing" in result.stderr
    assert not (command.folder / "out" / "retrieval.json").exists()
    allowed = command("--allow-missing", world=world)
    assert allowed.exit_code == 0
    assert "6/8 queries, 3/4 candidates" in allowed.stdout
    assert json.loads((command.folder / "out" / "retrieval.json").read_text())["missing"] == 1


@pytest.mark.parametrize(
    ("changed", "more", "said"),
    [
        ({}, ["--split", "tests"], "did you mean test"),
        ({}, ["--split", "val"], "'val' has no rows"),
        ({"model": "no-such-folder"}, [], "no-such-folder is not a model"),
        ({"manifest": "no-such.parquet"}, [], "no such manifest"),
        ({"shards": "no-such-folder"}, [], "no such folder of shards"),
        ({"device": "abacus"}, [], "--device abacus"),
        ({"frames": "9"}, [], "at most 3"),
        ({"queries": "some"}, [], "'some'"),
        ({"frames": "0"}, [], "0"),
    ],
)
def test_bad_usage_exits_2_with_one_line(command, changed: dict, more: list[str], said: str) -> None:
    result = command(*more, **changed)
    assert result.exit_code == 2, result.output
    message = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(message) == 1 and said in message[0]
    assert "Traceback" not in result.output


def test_help_teaches() -> None:
    result = CliRunner().invoke(main, ["retrieval", "--help"])
    assert result.exit_code == 0
    for word in ("--allow-missing", "--media-root", "expected rank", "python -m evaluate retrieval"):
        assert word in result.output
