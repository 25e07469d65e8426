"""A text encoder made of a manifest's words: whole, the same each time, and one that models read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel, AutoTokenizer

from data_specs.build import build_manifest
from data_specs.errors import InputError
from data_specs.manifest import Manifest, read_manifest
from data_specs.shapes.generate import generate
from train.__main__ import main
from train.config import ModelConfig
from train.fresh_text_encoder import make_text_encoder
from train.model import RegionTextModel

SIZES = {"width": 16, "layers": 1, "heads": 2, "vocabulary": 1000, "seed": 0}


@pytest.fixture(scope="module")
def manifest_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate(folder / "data", 3, seed=1)
    build_manifest("shapes", folder / "data", folder / "m.parquet")
    return folder / "m.parquet"


@pytest.fixture(scope="module")
def manifest(manifest_path: Path) -> Manifest:
    return read_manifest(manifest_path)


def test_words_of_the_training_split_are_whole_and_others_are_spelt(manifest: Manifest, tmp_path: Path) -> None:
    pieces = make_text_encoder(tmp_path / "text", manifest, **SIZES)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    assert len(tokenizer) == pieces
    (row,) = manifest.rows_of("train")
    words = manifest.take([row])[0].captions[0].replace(",", " ,").split()
    assert tokenizer.tokenize(" ".join(words)) == words
    assert all(tokenizer.tokenize("gnome")) and len(tokenizer.tokenize("gnome")) > 1


def test_the_same_seed_gives_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_text_encoder(tmp_path / name, manifest, **SIZES)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    assert not list(tmp_path.glob(".*"))


def test_a_model_reads_it(manifest: Manifest, tmp_path: Path) -> None:
    make_text_encoder(tmp_path / "text", manifest, **SIZES)
    sizes = {"feature_dim": 8, "width": 16, "heads": 2, "joint_dim": 8, "text_encoder": str(tmp_path / "text")}
    model = RegionTextModel.create(ModelConfig.model_validate(sizes))
    with torch.inference_mode():
        found = model.encode_text(model.tokenizer(["a red circle moves left", "a star"]))
    assert found.cls_CE.shape == (2, 8) and bool(found.cls_CE.isfinite().all())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_what_was_asked_for(manifest: Manifest, tmp_path: Path, dropout: float) -> None:
    make_text_encoder(tmp_path / "text", manifest, **SIZES, dropout=dropout)
    encoder = AutoModel.from_pretrained(tmp_path / "text").train()
    one, other = (encoder(torch.arange(9)[None]).last_hidden_state for _ in range(2))
    assert torch.equal(one, other) == (dropout == 0)


def test_few_words_leave_the_rest_to_letters(manifest: Manifest, tmp_path: Path) -> None:
    make_text_encoder(tmp_path / "text", manifest, **SIZES | {"vocabulary": 3})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    assert len([piece for piece in tokenizer.get_vocab() if len(piece) > 1 and piece[0] not in "[#"]) <= 3
    (row,) = manifest.rows_of("train")
    assert tokenizer.unk_token not in tokenizer.tokenize(" ".join(manifest.take([row])[0].captions))


def test_what_cannot_be_is_one_line(manifest: Manifest, manifest_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--width 16 is not a multiple of --heads 3"):
        make_text_encoder(tmp_path / "text", manifest, **SIZES | {"heads": 3})
    (tmp_path / "there").mkdir()
    result = CliRunner().invoke(main, ["make-text-encoder", str(manifest_path), "--out", str(tmp_path / "there")])
    assert result.exit_code == 2 and "is there already" in result.output
    made = CliRunner().invoke(main, ["make-text-encoder", str(manifest_path), "--out", str(tmp_path / "text")])
    assert made.exit_code == 0 and "word pieces" in made.output
