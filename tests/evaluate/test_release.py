"""An imported checkpoint in an evaluation: the scores of the release's own forward pass, from shards and manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import DistilBertConfig

from evaluate.__main__ import main
from evaluate.inputs import open_inputs
from evaluate.reports.retrieval import PAGE_NAME
from evaluate.retrieval import RetrievalOptions, evaluate_retrieval
from evaluate.stored import read_stored
from tests.train import release_reference as reference
from tests.train.release_checkpoint import Sizes, released_state
from train.batch import collate_regions
from train.model import RegionTextModel
from train.release import import_release

SIZES = Sizes(width=64, depth=1, frames=3, regions=4, feature_dim=17, vocabulary=30522, text_depth=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("release")
    torch.save(released_state(SIZES), place / "released.pth")
    import_release(place / "released.pth", place / "model", "minilm")
    return place / "model"


def test_scores_are_those_of_the_released_forward_pass(
    folder: Path, make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world()
    model = RegionTextModel.from_pretrained(folder)
    inputs = open_inputs(folder, world.shards, world.manifest)
    found = evaluate_retrieval(model, inputs, tmp_path / "out", RetrievalOptions(splits=("test",)))
    assert found.result.score == "global cosine + region-word similarity (release form, focal)"
    state = released_state(SIZES)
    stored = {s.id: s.regions for s in read_stored(world.shards).samples(frozenset(found.plan.ids))}
    batch = collate_regions([stored[identifier] for identifier in found.plan.ids], 3, 4, 6)
    tokens = model.tokenizer(found.plan.sentences)
    config = DistilBertConfig(
        vocab_size=SIZES.vocabulary, dim=64, hidden_dim=SIZES.text_hidden, n_layers=1, n_heads=1,
        max_position_embeddings=SIZES.positions,
    )  # fmt: skip
    with torch.no_grad():
        video = reference.unit(
            reference.encode_video(state, batch.features_BFRV.float(), batch.boxes_BFRK, batch.mask_BFR)
        )
        text = reference.unit(reference.encode_text(state, config, tokens.input_ids_CL, tokens.attention_mask_CL))
        wanted_BC = video[:, 0] @ text[:, 0].T + reference.local_similarity(
            video[:, 1:], batch.mask_BFR.flatten(1), text[:, 1:], tokens.attention_mask_CL[:, 1:], focal=True
        )
    np.testing.assert_allclose(found.scores_CB, wanted_BC.T.numpy(), rtol=0, atol=1e-5)


def test_the_command_evaluates_it_and_draws_its_page(
    folder: Path, make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world()
    data = ["--shards", str(world.shards), "--manifest", str(world.manifest), "--split", "test"]
    arguments = ["retrieval", "--model", str(folder), *data, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / PAGE_NAME).read_text(encoding="utf-8")
    assert "release form, focal" in page and "anvil" not in page and "harp" in page  # the test split's things
