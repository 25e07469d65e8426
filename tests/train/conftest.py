"""Tiny text encoders and shards, made on the fly; nothing here reaches a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from data_specs.regions import BOX_CONVENTION, Regions
from data_specs.samples import Sample
from data_specs.shard_index import build_index
from data_specs.shards import Provenance, write_shard
from train.config import ModelConfig

COLOURS = ("red", "green", "blue", "white")
SHAPES = ("star", "ring", "square", "cross")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "moves", "left", "right", *COLOURS, *SHAPES, "##s")
FEATURE_DIM = 12


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers and its WordPiece tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("text")
    words = folder / "vocab.txt"
    words.write_text("\n".join(VOCABULARY))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(VOCABULARY)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_config(text_folder: Path) -> ModelConfig:
    return ModelConfig.model_validate(
        {"feature_dim": FEATURE_DIM, "width": 32, "joint_dim": 16, "text_encoder": str(text_folder), "regions": 6}
    )


@pytest.fixture(scope="session")
def make_regions() -> Callable[..., Regions]:
    """``make_regions(rng, count)``: random regions; ``count`` has one entry a frame, of at most ``regions``."""

    def make(
        rng: np.random.Generator, count: Sequence[int] = (4, 4, 4), regions: int = 4, width: int = FEATURE_DIM
    ) -> Regions:
        frames = len(count)
        mask = np.arange(regions) < np.array(count, np.int64).reshape(-1, 1)
        corner, size = rng.random((frames, regions, 2)) / 2, rng.random((frames, regions, 2)) / 2
        boxes = np.concatenate([corner, corner + size, size, size.prod(-1, keepdims=True)], -1).astype(np.float32)
        scores = np.sort(rng.random((frames, regions)), axis=1)[:, ::-1].astype(np.float32)
        return Regions(
            features=(rng.standard_normal((frames, regions, width)) * mask[..., None]).astype(np.float16),
            boxes=boxes * mask[..., None].astype(np.float32),
            scores=scores * mask.astype(np.float32),
            labels=np.where(mask, rng.integers(0, 9, (frames, regions)), -1).astype(np.int32),
            count=np.array(count, np.int32),
        )

    return make


@pytest.fixture(scope="session")
def make_shards(make_regions: Callable[..., Regions]) -> Callable[..., Path]:
    """``make_shards(folder, sizes)``: committed shards of so many samples each, and their index.

    ``told(number)``: fields of a sample, such as its questions, in place of the usual ones. What else is named is put
    into the provenance of all.
    """

    def make(
        folder: Path,
        sizes: Sequence[int],
        split: str = "train",
        captions: int = 2,
        width: int = FEATURE_DIM,
        told: Callable[[int], dict[str, Any]] = lambda _: {},
        **made: str,
    ) -> Path:
        provenance = Provenance(
            dataset="made-up", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={},
            box_convention=BOX_CONVENTION, sampling="uniform", frames=3, regions=4, feature_dim=width, ffmpeg="none",
        ).model_copy(update=made)  # fmt: skip
        number = 0
        records = []
        for shard, size in enumerate(sizes):
            samples = []
            for _ in range(size):
                words = f"{COLOURS[number // 4 % 4]} {SHAPES[number % 4]}"
                sample = Sample(
                    id=f"clip {number:03d}.mp4",
                    split=split,
                    media="video",
                    captions=(f"a {words}", f"a {words} moves left")[:captions],
                    questions=(),
                    timestamps=(0.0, 1.0, 2.0),
                    frame_size=(48, 64),
                    regions=make_regions(np.random.default_rng(number), width=width),
                )
                samples.append(replace(sample, **told(number)))
                number += 1
            records.append(write_shard(folder, f"{split}-{shard:05d}", samples, "plan", provenance))
        build_index(folder, records)
        return folder

    return make
