"""Exit codes and messages of ``python -m evaluate``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from data_specs.manifest import ManifestInfo
from evaluate.__main__ import main
from evaluate.result import RetrievalResult
from train.history import Learnt, LearntFrom, write_history
from train.model import RegionTextModel


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
        ({"device": "abacus"}, [], "device: 'abacus' is none"),
        ({"frames": "9"}, [], "at most 3"),
        ({"queries": "some"}, [], "'some'"),
        ({"frames": "0"}, [], "0"),
        ({"media-root": "no-such-folder"}, [], "no-such-folder"),
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


def test_a_refusal_leaves_no_earlier_result(command, make_world) -> None:
    out = command.folder / "out"
    for absent, changed, code in ((["jug"], {}, 1), ([], {"model": "no-such-folder"}, 2)):
        assert command().exit_code == 0
        other = out / "multiple_choice.json"  # of another command
        other.write_text("{}")
        assert command(world=make_world(absent=absent), **changed).exit_code == code
        assert not (out / "retrieval.json").exists() and not (out / "retrieval.html").exists()
        assert other.exists()


def test_vectors_are_kept_where_it_is_said(command) -> None:
    shared = command.folder / "shared"
    assert command().exit_code == command("--no-cache").exit_code == 0
    assert len(list((command.folder / "out" / "embeddings").iterdir())) == 2
    assert not list((command.folder / "out").glob(".embeddings*"))
    first = command(cache=shared)
    assert "come from" not in first.stderr
    again = command(cache=shared, out=command.folder / "other")
    said = " ".join(again.stderr.split())
    assert "4 of 4 videos come from" in said and "8 of 8 sentences come from" in said
    assert not (command.folder / "other" / "embeddings").exists()
    assert first.stdout.splitlines()[0] == again.stdout.splitlines()[0]
    both = command("--no-cache", cache=shared)
    assert both.exit_code == 2 and "give one of them" in both.stderr


def test_a_broken_sample_is_named_and_nothing_is_skipped(command, make_world) -> None:
    world = make_world()
    tar = world.shards / "test-00000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data.replace(b'"labels":{"dtype":"I32"', b'"labels":{"dtype":"I33"', 1))
    assert tar.read_bytes() != data
    result = command("--allow-missing", world=world)
    assert result.exit_code == 2
    assert "sample globe" in result.stderr and "test-00000.tar" in result.stderr
    assert not (command.folder / "out" / "retrieval.json").exists()


def test_what_the_model_has_seen_is_said_aloud(command, model_folder, tmp_path) -> None:
    def learnt(*splits: str) -> Result:
        folder = tmp_path / "+".join(splits)
        shutil.copytree(model_folder, folder)
        source = LearntFrom(dataset="made-up", protocol="all", manifest_sha256="0", splits=splits)
        write_history(
            folder,
            (Learnt(objective="contrastive", sources=(source,), frames=1, regions=4, steps=1, batch_size=2),),
        )
        return command(model=folder)

    tuned, seen = learnt("train"), learnt("train", "test")
    assert "(made-up/all, tuned, 8 queries" in tuned.stdout and "WARNING" not in tuned.stderr
    assert "(made-up/all, seen, 8 queries" in seen.stdout and "WARNING: seen: the model learnt from" in seen.stderr
    assert "made-up/all, split test, seen, 4 videos" in seen.stderr
    given = command(setting="zero-shot")
    assert "(made-up/all, zero-shot, 8 queries" in given.stdout
    for model, said in ((tmp_path / "train", "tuned: the model"), (tmp_path / "train+test", "seen: the model")):
        denied = command(model=model, setting="zero-shot")
        assert denied.exit_code == 2 and f"--setting zero-shot: {said}" in denied.stderr


def test_splits_stand_in_their_order_each_once(command) -> None:
    result = command("--split", "test", "--split", "train", "--split", "test")
    stored = RetrievalResult.model_validate_json((command.folder / "out" / "retrieval.json").read_bytes())
    assert result.exit_code == 0 and stored.splits == ("train", "test")


def test_names_are_no_markup(command, make_world, tmp_path) -> None:
    world = make_world(info=ManifestInfo("made-up", "made-up/[/b]"))
    result = command(world=world, cache=tmp_path / "[red]")
    again = command(world=world, cache=tmp_path / "[red]")
    assert result.exit_code == again.exit_code == 0, again.output
    assert "made-up/[/b], split test" in again.stderr and "[red]" in again.stderr


def test_an_interrupted_evaluation_says_what_is_kept(command, monkeypatch) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluate.retrieval.embed_sentences", interrupted)
    result = command()
    assert result.exit_code == 130
    assert "the same command goes on from what lies in" in result.stderr
    assert len(list((command.folder / "out" / "embeddings").iterdir())) == 1
    monkeypatch.undo()
    assert "4 of 4 videos come from" in " ".join(command().stderr.split())


def test_no_cache_leaves_what_another_command_uses(command) -> None:
    used = command.folder / "out" / ".embeddings-multiple-choice" / "a-table"
    used.mkdir(parents=True)
    assert command("--no-cache").exit_code == 0
    assert used.exists()


def test_ctrl_c_at_any_moment_is_one_line(command, monkeypatch) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    for name in ("open_inputs", "write_report"):
        monkeypatch.setattr(f"evaluate.commands.retrieval.{name}", interrupted)
        result = command()
        assert result.exit_code == 130 and result.stderr.splitlines()[-1] == "interrupted"
        monkeypatch.undo()


def test_a_model_that_changes_while_it_is_read_is_not_evaluated(command, model_folder, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "changing"
    shutil.copytree(model_folder, folder)

    def read(path: Path, **options: Any) -> RegionTextModel:
        (path / "README.md").write_text("of another run")
        return real(path, **options)

    real = RegionTextModel.from_pretrained
    monkeypatch.setattr(RegionTextModel, "from_pretrained", read)
    result = command(model=folder)
    assert result.exit_code == 2 and f"{folder}: the model changed while it was read" in result.stderr
    assert not (command.folder / "out" / "embeddings").exists()


def test_an_out_that_is_a_file_is_one_line(command) -> None:
    (command.folder / "out").write_text("")
    result = command()
    assert result.exit_code == 2 and "cannot be written" in result.stderr and "--out" in result.stderr
