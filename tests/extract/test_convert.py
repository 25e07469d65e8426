from __future__ import annotations

import hashlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from data_specs.errors import InputError
from extract.convert import convert
from extract.detector import Detector
from tests.extract.networks import bottom_up_reference as reference
from tests.extract.networks.bottom_up_made import SMALL, settings_of, some_frames

WEIGHTS = {"backbone.conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.zeros(2, np.float32)}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_zoo_pickle_and_torch_file(tmp_path: Path) -> None:
    zoo, pth = tmp_path / "model.pkl", tmp_path / "model.pth"
    zoo.write_bytes(pickle.dumps({"model": WEIGHTS, "__author__": "somebody"}))
    torch.save({"model": {name: torch.from_numpy(value) for name, value in WEIGHTS.items()}}, pth)
    for source in (zoo, pth):
        target = tmp_path / f"{source.suffix[1:]}.safetensors"
        assert convert(source, target, sha256(source)) == 2
        for name, value in load_file(target).items():
            np.testing.assert_array_equal(value, WEIGHTS[name])


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def test_a_pickle_that_wants_more_than_arrays_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "evil.pkl"
    source.write_bytes(pickle.dumps({"model": {**WEIGHTS, "x": Attack()}}))
    with pytest.raises(InputError, match="mkdir"):
        convert(source, tmp_path / "out.safetensors", sha256(source))
    assert not (tmp_path / "attacked").exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_another_hash_is_refused_before_reading(tmp_path: Path) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(b"not even a pickle")
    with pytest.raises(InputError, match="SHA-256 is"):
        convert(source, tmp_path / "out.safetensors", "0" * 64)
    with pytest.raises(InputError, match="not weights"):
        convert(source, tmp_path / "out.safetensors", sha256(source))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_published_bottom_up_file(tmp_path: Path, zipped: bool) -> None:
    """An OrderedDict under "model" beside a training state, counters of batches, the anchors; either torch format."""
    state = OrderedDict(reference.random_state(SMALL, 0))
    state["backbone.res4.0.conv1.norm.num_batches_tracked"] = torch.tensor(7)
    source, target = tmp_path / "bua.pth", tmp_path / "bua.safetensors"
    tree = {"model": state, "iteration": 9, "optimizer": {"param_groups": [{"lr": 0.1}]}}
    torch.save(tree, source, _use_new_zipfile_serialization=zipped)
    assert convert(source, target, sha256(source)) == len(state)
    found = load_file(target)
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())
    assert "proposal_generator.anchor_generator.cell_anchors.0" in found
    assert Detector(settings_of(SMALL, target)).detect(some_frames(1), 5).count.tolist() == [5]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_wants_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "evil.pth"
    torch.save({"model": {"x": Attack()}}, source, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="mkdir"):
        convert(source, tmp_path / "out.safetensors", sha256(source))
    assert not (tmp_path / "attacked").exists()
