"""Files that are no released checkpoint, or would run code: one line, exit code 2, and nothing written or run."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_specs.errors import InputError
from tests.train.release_checkpoint import Sizes, released_state, write_released
from train.__main__ import main
from train.importing.foreign_weights import read_state_dict

State = OrderedDict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return released_state(Sizes(width=64, depth=1, frames=2, text_depth=1))


@pytest.fixture
def refusal(text_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """Imports a file; returns the one line that refuses it."""

    def call(path: Path, *options: str) -> str:
        arguments = ["import-release", str(path), "--out", str(tmp_path / "model"), "--tokenizer", str(text_folder)]
        result = CliRunner().invoke(main, [*arguments, *options])
        assert result.exit_code == 2, result.output
        assert isinstance(result.exception, SystemExit)
        assert len(result.output.strip().splitlines()) == 1, result.output
        assert not (tmp_path / "model").exists()
        return result.output

    return call


class Runs:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("function", "named"), [(os.system, "posix.system"), (shutil.copyfile, "shutil.copyfile")])
def test_a_file_that_would_run_code_is_refused(
    function: Callable[..., Any], named: str, zipped: bool, state: State, refusal: Callable[..., str], tmp_path: Path
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "released.pth"
    call = Runs(os.system, f"touch {marker}") if function is os.system else Runs(shutil.copyfile, __file__, str(marker))
    torch.save({"state_dict": state, "config": call}, path, _use_new_zipfile_serialization=zipped)
    line = refusal(path)
    assert named in line and "nothing in it was run" in line
    if named.startswith("posix"):  # this module is out whatever the command line says
        assert named in refusal(path, "--inert", named)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # it would have
    assert marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_function_named_inert_is_not_called(zipped: bool, state: State, text_folder: Path, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "released.pth"
    call = Runs(shutil.copyfile, __file__, str(marker))
    write_released(path, state, config=call, zipped=zipped)
    arguments = ["import-release", str(path), "--out", str(tmp_path / "model"), "--tokenizer", str(text_folder)]
    result = CliRunner().invoke(main, [*arguments, "--inert", "shutil.copyfile"])
    assert result.exit_code == 0, result.output
    assert not marker.exists() and (tmp_path / "model/config.json").is_file()


BLOCK = "object_model.blocks.0.attn.qkv.weight"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({BLOCK: None}, rf"missing: {BLOCK}"),
        ({"object_model.temporal_embed": None}, "missing: object_model.temporal_embed"),
        ({"txt_proj.1.bias": None, "object_model.proj.weight": None}, "missing: object_model.proj.weight"),
        ({"object_model.blocks.0.timeattn.qkv.weight": torch.ones(3)}, "not known: object_model.blocks.0.timeattn.qkv"),
        ({"object_model.blocks.7.norm1.weight": torch.ones(64)}, "missing: object_model.blocks.1.attn.proj.bias"),
        ({"video_model.cls_token": torch.ones(3), BLOCK: None}, f"missing: {BLOCK}; not known: video_model.cls_token"),
        ({BLOCK: torch.ones(64, 64)}, rf"{BLOCK} [64, 64], expected [192, 64]"),
        ({"object_model.pos_embedding.weight": torch.ones(64, 5)}, "box_dim"),
        ({"object_model.object_embedding.weight": torch.ones(40, 12)}, "width 40"),
        ({"object_model.custom_pos_embed": torch.ones(1, 6, 32)}, "custom_pos_embed is [1, 6, 32]"),
        ({"object_model.temporal_embed": torch.ones(0)}, "object_model.temporal_embed is [0]"),
        ({"text_model.embeddings.position_embeddings.weight": torch.ones(64, 64)}, "64 positions"),
        ({"object_model.cls_token": torch.full((1, 1, 64), torch.nan)}, "cls_token holds values that are not finite"),
        ({"object_model.cls_token": torch.ones(1, 1, 64, dtype=torch.int64)}, "cls_token is torch.int64"),
        ({"object_model.object_embedding.weight": torch.ones(1).expand(64, 10**9)}, "its tensors claim"),
        ({"module.txt_proj.1.bias": torch.ones(16)}, "has both"),
        ({"text_model.embeddings.word_embeddings.weight": torch.ones(99, 64)}, "has 18 word pieces"),
    ],
)
def test_another_layout_is_refused_by_name(
    change: dict[str, Tensor | None], expected: str, state: State, refusal: Callable[..., str], tmp_path: Path
) -> None:
    changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    torch.save({"state_dict": changed}, tmp_path / "released.pth")
    assert expected in refusal(tmp_path / "released.pth")


def test_what_is_no_checkpoint_is_refused(state: State, refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    assert "no such checkpoint file" in refusal(path)
    assert "no such checkpoint file" in refusal(tmp_path)
    for content in (b"", b"\x80\x02", b"not weights", pickle.dumps({"a": 1}), pickle.dumps(object)):
        path.write_bytes(content)
        assert str(path) in refusal(path)
    for tree in ([1, 2], {"state_dict": {}}, {"epoch": 3}, torch.ones(3)):
        torch.save(tree, path)
        assert "holds no state dict" in refusal(path)
    torch.save({"state_dict": state | {"epoch": 3}}, path)
    assert "not every entry of the state dict is a tensor: epoch" in refusal(path)
    (tmp_path / "released.safetensors").write_bytes(b"not weights")
    assert "not a whole safetensors file" in refusal(tmp_path / "released.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(zipped: bool, state: State, refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "copy it again" in refusal(path)


def test_a_flipped_bit_is_noticed(state: State, refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    torch.save({"state_dict": state}, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert "does not have the checksum" in refusal(path)


@pytest.fixture(scope="module")
def written(state: State, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A checkpoint in the format without checksums, and its bytes."""
    path = tmp_path_factory.mktemp("damaged") / "released.pth"
    write_released(path, state, zipped=False)
    return path, path.read_bytes()


@settings(max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_damaged_it_reads_or_is_refused(
    changes: list[tuple[int, int]], written: tuple[Path, bytes]
) -> None:
    path, whole = written
    damaged = bytearray(whole)
    for place, value in changes:
        damaged[place] = value
    path.write_bytes(damaged)
    try:
        tensors, _ = read_state_dict(path)
    except InputError as error:
        assert "\n" not in error.message
    else:
        assert tensors


def test_packed_records_are_refused(state: State, refusal: Callable[..., str], tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"state_dict": state}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.namelist():
            target.writestr(record, source.read(record))
    assert "compressed" in refusal(packed)


def test_a_tokenizer_that_cannot_be_had_says_the_ways_out(
    state: State, refusal: Callable[..., str], tmp_path: Path
) -> None:
    torch.save({"state_dict": state}, tmp_path / "released.pth")
    line = refusal(tmp_path / "released.pth", "--tokenizer", "distilbert-base-uncased")
    assert "'distilbert-base-uncased' cannot be loaded" in line and "minilm" in line


def test_a_folder_that_is_taken_is_left_alone(state: State, text_folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": state}, tmp_path / "released.pth")
    result = CliRunner().invoke(main, ["import-release", str(tmp_path / "released.pth"), "--out", str(tmp_path)])
    assert result.exit_code == 2 and "is there already" in result.output
