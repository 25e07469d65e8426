"""Checkpoints: equal after a round trip, whole or passed over, pruned, and one line for what is none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_specs.errors import InputError
from data_specs.shards import file_sha256
from train import checkpoint
from train.checkpoint import Best, Checkpoint, Position, Standing
from train.keeping.checkpoint_folder import RECORD, Search, latest, search
from train.keeping.random_states import RandomStates
from train.optimiser import state_by_name

SCALER = {"scale": 32.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 7, "_growth_tracker": 3}


def example(step: int, **standing: Any) -> Checkpoint:
    torch.manual_seed(step)
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    return Checkpoint(
        Standing(position=Position(step, 1, 2), data="shards", **standing),
        layer.state_dict(),
        state_by_name(optimiser, layer),
        tuple(RandomStates.seeded(0, rank, step) for rank in range(3)),
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, other[name]) and a.dtype == other[name].dtype for name, a in one.items()
    )


def test_round_trip(tmp_path: Path) -> None:
    full = {"scaler": SCALER, "best": Best(0.3125, 5), "spent": 12.5, "corrupt": {"skipped": 3, "drawn": 99}}
    before = example(7, **full)
    before = Checkpoint(
        before.standing, before.model, before.optimiser, before.random, {"w": torch.randn(3).bfloat16()}
    )
    for state in (before, example(8)):
        after = checkpoint.read(checkpoint.write(tmp_path, state, keep=2))
        assert after.standing == state.standing and after.random == state.random
        assert same(after.model, state.model) and same(after.optimiser, state.optimiser)
        assert same(after.ema, state.ema)
    scaler = torch.amp.GradScaler("cpu")
    scaler.load_state_dict(before.standing.scaler)
    assert scaler.state_dict() == SCALER


def test_a_generator_goes_on_where_the_checkpoint_left_it(tmp_path: Path) -> None:
    here = RandomStates.capture()
    state = replace(example(1), random=(RandomStates.capture(),))
    folder = checkpoint.write(tmp_path, state, keep=1)

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first = draw()
    assert draw() != first
    checkpoint.read(folder).random[0].restore()
    assert draw() == first
    here.restore()


def rewrite(path: Path, change: Callable[[Any], Any], recorded: bool = False) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    if recorded:
        record = path.parent / RECORD
        found = json.loads(record.read_text())
        found["sha256"][path.name] = file_sha256(path)
        record.write_text(json.dumps(found))


FILES = sorted(checkpoint.REQUIRED)
TEARS: list[tuple[str, Callable[[Path], object]]] = [
    ("commit.json is missing", lambda folder: (folder / RECORD).unlink()),
    ("commit.json is broken", lambda folder: (folder / RECORD).write_text("{")),
    ("commit.json is broken", lambda folder: (folder / RECORD).write_text("")),
    ("commit.json is broken", lambda folder: (folder / RECORD).write_text("{}")),
    ("commit.json is broken", lambda folder: (folder / RECORD).write_text("[" * 100_000)),
    ("commit.json is broken", lambda folder: (folder / RECORD).write_bytes(b"\xff\xfe")),
    ("commit.json is that of step 5", lambda folder: rewrite(folder / RECORD, lambda tree: tree | {"step": 5})),
    ("commit.json does not list", lambda folder: rewrite(folder / RECORD, lambda tree: tree | {"sha256": {}})),
    ("commit.json does not list", lambda folder: rewrite(folder / RECORD, lambda t: t | {"sha256": {"../x": "0"}})),
    *((f"{name} is missing", lambda folder, name=name: (folder / name).unlink()) for name in FILES),
    *((f"{name} is not the file", lambda folder, name=name: cut(folder / name)) for name in FILES),
    ("trainer.json is not the file", lambda folder: (folder / checkpoint.TRAINER).write_text("")),
]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("wrong", "tear"), TEARS)
def test_a_torn_folder_is_passed_over_and_named(tmp_path: Path, wrong: str, tear: Callable[[Path], object]) -> None:
    whole, torn = (checkpoint.write(tmp_path, example(step), keep=9) for step in (9, 10))
    assert search(tmp_path) == Search(torn, ())
    tear(torn)
    found = search(tmp_path)
    assert found.found == whole == latest(tmp_path)
    assert len(found.passed_over) == 1 and f"step-00000010 is passed over: {wrong}" in found.passed_over[0]


def test_one_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    folder = checkpoint.write(tmp_path, example(1), keep=1)
    for name in sorted(checkpoint.REQUIRED):
        data = (folder / name).read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(InputError, match=f"{name} is not the file that was committed"):
                latest(tmp_path)
        (folder / name).write_bytes(data)
    assert latest(tmp_path) == folder


def test_nothing_whole_is_none(tmp_path: Path) -> None:
    assert search(tmp_path / "absent") == Search(None, ())
    torn = checkpoint.write(tmp_path, example(1), keep=1)
    (torn / RECORD).unlink()
    assert latest(tmp_path) is None
    with pytest.raises(InputError, match=r"no committed checkpoint: commit\.json is missing, so it was never finished"):
        checkpoint.read(torn)


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 99_999_999, 100_000_000):
        checkpoint.write(tmp_path, example(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-100000000", "step-99999999"]
    assert latest(tmp_path) == tmp_path / "step-100000000"


def test_a_step_is_written_over_its_uncommitted_leftover(tmp_path: Path) -> None:
    leftover = tmp_path / "step-00000005"
    leftover.mkdir()
    (leftover / "rubbish").write_text("")
    assert checkpoint.write(tmp_path, example(5), keep=1) == latest(tmp_path) == leftover
    assert not (leftover / "rubbish").exists()


def test_a_torn_later_one_never_takes_the_place_of_the_newest(tmp_path: Path) -> None:
    for step in (5, 10):
        torn = checkpoint.write(tmp_path, example(step), keep=2)
    (torn / checkpoint.MODEL).write_bytes(b"")
    assert latest(tmp_path) == tmp_path / "step-00000005"
    written = checkpoint.write(tmp_path, example(7), keep=1)  # gone on with from step 5
    assert latest(tmp_path) == written
    assert sorted(tmp_path.iterdir()) == [written]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    kept = checkpoint.write(tmp_path, example(1), keep=1)
    unwritable = replace(example(2), random=(None,))
    with pytest.raises(AttributeError):
        checkpoint.write(tmp_path, unwritable, keep=1)
    assert list(tmp_path.iterdir()) == [kept] and latest(tmp_path) == kept


HOSTILE: list[tuple[str, Callable[[Any], Any], str]] = [
    (checkpoint.TRAINER, lambda tree: [], "expected a mapping"),
    (checkpoint.TRAINER, lambda tree: {}, "missing"),
    (checkpoint.TRAINER, lambda tree: tree | {"more": 1}, "more"),
    (checkpoint.TRAINER, lambda tree: tree | {"position": {"step": 10**400, "epoch": 0, "batch": 0}}, "position"),
    (checkpoint.TRAINER, lambda tree: tree | {"position": {"step": 4, "epoch": -1, "batch": 0}}, "position.epoch"),
    (checkpoint.TRAINER, lambda tree: tree | {"position": {"step": 5, "epoch": 0, "batch": 0}}, "that of step 5"),
    (checkpoint.TRAINER, lambda tree: tree | {"position": "x"}, "position"),
    (checkpoint.TRAINER, lambda tree: tree | {"data": 7}, "data"),
    (checkpoint.TRAINER, lambda tree: tree | {"spent": float("inf")}, "spent"),
    (checkpoint.TRAINER, lambda tree: tree | {"spent": -1}, "spent"),
    (checkpoint.TRAINER, lambda tree: tree | {"best": {"metric": "high", "step": 1}}, "best.metric"),
    (checkpoint.TRAINER, lambda tree: tree | {"corrupt": {"skipped": -2}}, "corrupt.skipped"),
    (checkpoint.TRAINER, lambda tree: tree | {"scaler": {"scale": 1.0}}, "no gradient scaler's state"),
    (checkpoint.TRAINER, lambda tree: tree | {"scaler": SCALER | {"scale": 0.0}}, "no gradient scaler's state"),
    (checkpoint.RANDOM, lambda tree: {}, "random states of each rank"),
    (checkpoint.RANDOM, lambda tree: [], "random states of each rank"),
    (checkpoint.RANDOM, lambda tree: [*tree, 1], "random states are not the four"),
    (RECORD, lambda tree: tree | {"format_version": 1}, "checkpoint version 1, this program reads 2"),
    (RECORD, lambda tree: tree | {"sha256": {"model.safetensors": "0"}}, "lists other files than a checkpoint has"),
]


@pytest.mark.parametrize(("name", "change", "complaint"), HOSTILE)
def test_what_no_trainer_wrote_is_one_line(
    tmp_path: Path, name: str, change: Callable[[Any], Any], complaint: str
) -> None:
    folder = checkpoint.write(tmp_path, example(4), keep=1)
    rewrite(folder / name, change, recorded=name != RECORD)
    with pytest.raises(InputError, match=complaint) as caught:
        checkpoint.read(folder)
    assert caught.value.exit_code == 2 and "\n" not in caught.value.message and len(caught.value.message) < 900


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(key=st.sampled_from(["position", "data", "scaler", "best", "spent", "corrupt"]), value=_JSON)
def test_any_value_is_read_or_is_one_line(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    folder = checkpoint.write(tmp_path_factory.mktemp("any"), example(4), keep=1)
    rewrite(folder / checkpoint.TRAINER, lambda tree: tree | {key: value}, recorded=True)
    try:
        assert checkpoint.read(folder).standing.position.step == 4
    except InputError as error:
        assert "\n" not in error.message


def test_broken_tensors_with_a_right_hash_are_one_line(tmp_path: Path) -> None:
    folder = checkpoint.write(tmp_path, example(4), keep=1)
    (folder / checkpoint.MODEL).write_bytes(b"\xff" * 8 + b"{}")  # a header longer than any file
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        checkpoint.read(folder)


def test_another_architecture_names_the_tensors() -> None:
    saved = torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict()
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    expected = (
        r"ckpt: a checkpoint of another architecture, 4 tensors differ: 0\.bias is \[2\], in the model \[4\]; 0\.w"
    )
    with pytest.raises(InputError, match=expected) as caught:
        checkpoint.load_weights(other.state_dict(), saved, Path("ckpt"))
    assert "1.bias is absent" in caught.value.message
    with pytest.raises(InputError, match="2 tensors differ"):
        checkpoint.load_weights({}, saved, Path("ckpt"))
    same_sizes = torch.nn.Sequential(torch.nn.Linear(3, 2))
    checkpoint.load_weights(same_sizes.state_dict(), saved, Path("ckpt"))
    assert same(same_sizes.state_dict(), saved)
