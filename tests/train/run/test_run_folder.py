"""A model's folder is whole or not there: on a full disk, after a kill, after a loss of power."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.config import LossConfig, ModelConfig
from train.keeping import checkpoint_writer
from train.keeping.save_error import SaveError
from train.model import RegionTextModel
from train.run.run_folder import write_model


@pytest.fixture(scope="module")
def model(model_config: ModelConfig) -> RegionTextModel:
    return RegionTextModel.create(model_config, LossConfig())


@contextmanager
def room_for_files_of(size: int) -> Iterator[None]:
    """A write beyond fails as on a full disk; the interpreter ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_takes_the_place_of_another(model: RegionTextModel, tmp_path: Path) -> None:
    write_model(model, tmp_path, "model", {"steps": 1})
    with torch.no_grad():
        next(model.parameters()).add_(1)
    written = write_model(model, tmp_path, "model", {"steps": 2})
    assert written == tmp_path / "model" and os.listdir(tmp_path) == ["model"]
    found, state = load_file(written / "model.safetensors"), model.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in state)


# In the tokenizer's first file, in its second, whose library has exceptions of its own, and in the weights.
@pytest.mark.parametrize("size", [100, 500, 5000])
def test_a_full_disk_is_one_line_and_leaves_what_stood_there(model: RegionTextModel, tmp_path: Path, size: int) -> None:
    before = contents(write_model(model, tmp_path, "best", {}))
    with room_for_files_of(size), pytest.raises(SaveError) as caught:
        write_model(model, tmp_path, "best", {})
    assert caught.value.exit_code == 1 and "\n" not in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path / 'best'}: the model could not be written: File too large; ")
    assert os.listdir(tmp_path) == ["best"] and contents(tmp_path / "best") == before
    with room_for_files_of(size), pytest.raises(SaveError):
        write_model(model, tmp_path / "new", "model", {})
    assert os.listdir(tmp_path / "new") == []
    write_model(model, tmp_path, "best", {})


def test_killed_between_the_two_names_the_former_one_comes_back(model: RegionTextModel, tmp_path: Path) -> None:
    before = contents(write_model(model, tmp_path, "model", {}))
    half = tmp_path / ".model.partial"
    shutil.copytree(tmp_path / "model", half)
    (tmp_path / "model").rename(tmp_path / ".model.old.partial")
    with room_for_files_of(5000), pytest.raises(SaveError):
        write_model(model, tmp_path, "model", {})
    assert os.listdir(tmp_path) == ["model"] and contents(tmp_path / "model") == before


def test_a_name_that_cannot_be_given_takes_none_away(
    model: RegionTextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, replace = contents(write_model(model, tmp_path, "model", {})), os.replace

    def refusing(source: Path, target: Path) -> None:
        if Path(source).name == ".model.partial":
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(SaveError, match="Input/output error"):
        write_model(model, tmp_path, "model", {})
    assert os.listdir(tmp_path) == ["model"] and contents(tmp_path / "model") == before


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What is brought to the disk and what is renamed, in order."""
    calls: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, os.replace

    def brought(descriptor: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        calls.append(("replace", Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", brought)
    monkeypatch.setattr(os, "replace", renamed)
    return calls


def test_all_is_on_the_disk_before_it_has_its_name(
    model: RegionTextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    target, temporary = write_model(model, tmp_path, "model", {}), tmp_path / ".model.partial"
    named = calls.index(("replace", target))
    before = {path for what, path in calls[:named] if what == "fsync"}
    assert {temporary, *(temporary / path.name for path in target.iterdir())} <= before
    assert ("fsync", tmp_path) in calls[named:]


def test_the_writer_of_checkpoints_raises_the_same() -> None:
    assert checkpoint_writer.SaveError is SaveError
