"""A world whose right answers are known: each clip shows one thing, each sentence names one."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertModel, BertTokenizerFast

from data_specs.failures import Failure, Reason
from data_specs.manifest import Item, ManifestInfo, Question, write_manifest
from data_specs.regions import BOX_CONVENTION, Regions, boxes_from_corners
from data_specs.samples import Sample
from data_specs.shard_index import build_index
from data_specs.shards import Provenance, write_shard
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, ModelConfig
from train.model import RegionTextModel, TextEmbedding, VideoEmbedding

THINGS = ("anvil", "bell", "crate", "drum", "easel", "flute", "globe", "harp", "inkwell", "jug")
OTHER_WORDS = ("the", "moves", "##s")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *OTHER_WORDS, *THINGS)
WIDTH = len(WORDS)
FRAME_SIZE = (48, 64)
INFO = ManifestInfo("made-up", "made-up/all")


@dataclass
class StandInTokenizer:
    """Words by white space, ``things`` as ``thing ##s``; the interface of ``CaptionTokenizer``."""

    seen: list[str] = field(default_factory=list)

    def words(self, sentences: Sequence[str]) -> list[list[str]]:
        def pieces(word: str) -> list[str]:
            return [word[:-1], "##s"] if word[:-1] in THINGS and word.endswith("s") else [word]

        return [[p for word in s.split() for p in pieces(word)] for s in sentences]

    def __call__(self, sentences: Sequence[str]) -> TextBatch:
        self.seen += sentences
        rows = [["[CLS]", *words, "[SEP]"] for words in self.words(sentences)]
        longest = max(map(len, rows))
        ids = [[WORDS.index(w) if w in WORDS else 1 for w in row] + [0] * (longest - len(row)) for row in rows]
        found = torch.tensor(ids)
        return TextBatch(found, found != 0)


class StandIn(torch.nn.Module):
    """Embeds a region as its feature and a word as a unit vector, so that scores can be worked out by hand."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.config = ModelConfig.model_validate({"feature_dim": WIDTH, "frames": 3, "regions": 4, "joint_dim": WIDTH})
        self.loss = LossConfig(sharpness=20.0)
        self.tokenizer = StandInTokenizer()
        self.temperature = torch.tensor(self.loss.temperature)
        self.clips = 0

    def encode_video(self, batch: RegionBatch) -> VideoEmbedding:
        self.clips += len(batch.mask_BFR)
        regions_BNE, mask_BN = batch.features_BFRV.float().flatten(1, 2), batch.mask_BFR.flatten(1)
        return VideoEmbedding(F.normalize(regions_BNE.sum(1), dim=-1), F.normalize(regions_BNE, dim=-1), mask_BN)

    def encode_text(self, batch: TextBatch) -> TextEmbedding:
        vectors_CLE = F.one_hot(batch.input_ids_CL, WIDTH).float()[:, 1:]
        mask_CL = (batch.input_ids_CL > 3)[:, 1:]
        words_CLE = vectors_CLE * mask_CL[..., None]
        return TextEmbedding(F.normalize(words_CLE.sum(1), dim=-1), words_CLE, mask_CL)


def regions_of(thing: str) -> Regions:
    """3 frames of 4 regions: the middle frame shows the thing twice, the others a word that no caption has."""
    features = np.zeros((3, 4, WIDTH), np.float16)
    features[[0, 2], :2, 1] = 1
    features[1, :2, WORDS.index(thing)] = 1
    corners = np.array([[8, 6, 24, 30], [30, 10, 60, 40]], np.float32)
    boxes = np.zeros((3, 4, 7), np.float32)
    boxes[:, :2] = boxes_from_corners(corners, FRAME_SIZE)
    scores = np.tile(np.array([0.9, 0.8, 0, 0], np.float32), (3, 1))
    labels = np.tile(np.array([0, 1, -1, -1], np.int32), (3, 1))
    return Regions(features, boxes, scores, labels, np.full(3, 2, np.int32))


@dataclass(frozen=True)
class World:
    shards: Path
    manifest: Path


class WorldMaker:
    """Writes a manifest of ten clips (the first six train) and shards of all but the absent ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        captions: dict[str, tuple[str, ...]] | None = None,
        absent: Collection[str] = (),
        failed: Collection[str] = (),
        width: int | None = None,
        info: ManifestInfo = INFO,
        questions: Mapping[str, tuple[Question, ...]] | None = None,
    ) -> World:
        asked = questions or {}
        said = {thing: (f"the {thing} moves", f"{thing}s") for thing in THINGS} | (captions or {})
        items = [
            Item(
                id=thing,
                path=f"{thing}.mp4",
                split="train" if i < 6 else "test",
                captions=said[thing],
                questions=asked.get(thing, ()),
            )
            for i, thing in enumerate(THINGS)
        ]
        manifest = self.folder / "manifest.parquet"
        write_manifest(manifest, items, info)
        provenance = Provenance(
            dataset="made-up", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={},
            box_convention=BOX_CONVENTION, sampling="uniform", frames=3, regions=4, ffmpeg="x",
            feature_dim=width or WIDTH,
        )  # fmt: skip
        shards, records = self.folder / "shards", []
        for split in ("train", "test"):
            results: list[Sample | Failure] = []
            for item in items:
                if item.split != split or item.id in absent:
                    continue
                if item.id in failed:
                    results.append(Failure(id=item.id, reason=Reason.TRUNCATED, detail="cut short"))
                    continue
                results.append(
                    Sample(item.id, split, "video", item.captions, (), (0.5, 1.5, 2.5), FRAME_SIZE, regions_of(item.id))
                )
            records.append(write_shard(shards, f"{split}-00000", results, "plan", provenance))
        build_index(shards, records)
        return World(shards, manifest)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_world(tmp_path: Path) -> WorldMaker:
    return WorldMaker(tmp_path)


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture(scope="session")
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
