"""A tiny model learns forty clips by heart, in seconds; with any classical mistake it does not, or is found out.

The clips are scene graphs of the shapes world as a perfect detector would give them: one region a thing, whose feature
says shape and colour alone. Two clips of a family show the same things, so only their boxes tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import train.losses
from data_specs.manifest import Item, ManifestInfo, read_manifest, write_manifest
from data_specs.regions import BOX_CONVENTION, Regions, boxes_from_corners
from data_specs.samples import Sample
from data_specs.shapes.captions import kin_captions
from data_specs.shapes.families import make_families
from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import COLOURS, HEIGHT, SHAPES, WIDTH, Scene
from data_specs.shard_index import build_index, write_labels
from data_specs.shards import Provenance, write_shard
from evaluate.embed import embed_sentences, embed_videos
from evaluate.similarity import score_matrix
from evaluate.stored import read_stored
from train.batch import RegionBatch
from train.config import TrainConfig
from train.fresh_text_encoder import make_text_encoder
from train.model import RegionTextModel
from train.networks.attention import Keys
from train.networks.video_encoder import VideoEncoder
from train.trainer import train as run

CLIPS, REGIONS, TIME_S = 40, 8, 1.5


def regions_of(scene: Scene) -> Regions:
    truth, n = render_frame(scene, TIME_S), len(scene.things)
    features = np.zeros((1, REGIONS, len(SHAPES) + len(COLOURS)), np.float16)
    boxes, scores = np.zeros((1, REGIONS, 7), np.float32), np.zeros((1, REGIONS), np.float32)
    labels = np.full((1, REGIONS), -1, np.int32)
    for row, thing in enumerate(scene.things):
        features[0, row, SHAPES.index(thing.shape)] = 1
        features[0, row, len(SHAPES) + tuple(COLOURS).index(thing.colour)] = 1
    boxes[0, :n] = boxes_from_corners(truth.boxes, (HEIGHT, WIDTH))
    scores[0, :n], labels[0, :n] = 0.9, truth.labels
    return Regions(features, boxes, scores, labels, np.array([n], np.int32))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, manifest and text encoder. No clip is the reverse of another: one frame could not tell those apart."""
    folder = tmp_path_factory.mktemp("world")
    scenes = make_families(0, "train", 2 * CLIPS)[::2]
    items = [
        Item(f"clip{n}", f"{n}.mp4", "train", captions=(kin_captions(scene, 1)[0].text,))
        for n, scene in enumerate(scenes)
    ]
    write_manifest(folder / "m.parquet", items, ManifestInfo("shapes", "shapes/first-caption"))
    provenance = Provenance(
        dataset="shapes", manifest_sha256="0", detector="perfect", weights_sha256="0", detector_settings={},
        box_convention=BOX_CONVENTION, sampling="middle", frames=1, regions=REGIONS, ffmpeg="none",
        feature_dim=len(SHAPES) + len(COLOURS),
    )  # fmt: skip
    samples = [
        Sample(item.id, "train", "video", item.captions, (), (TIME_S,), (HEIGHT, WIDTH), regions_of(scene))
        for item, scene in zip(items, scenes, strict=True)
    ]
    record = write_shard(folder / "shards", "train-00000", samples, "plan", provenance)
    build_index(folder / "shards", [record])
    write_labels(folder / "shards", ())
    sizes = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 1000, "seed": 0}
    make_text_encoder(folder / "text", read_manifest(folder / "m.parquet"), **sizes)
    return folder


def recall(world: Path, out: Path) -> float:
    """R@1 of the forty captions among the forty clips, in percent, once the model has learnt them.

    Raises:
        AssertionError: the padding of frames changes a score.
    """
    settings = TrainConfig.model_validate(
        {
            "out": out, "threads": 1, "device": "cpu", "epochs": 1000, "max_steps": 150, "checkpoint_every": 1000,
            "model": {
                "preset": "tiny", "feature_dim": len(SHAPES) + len(COLOURS), "width": 32, "depth": 1, "heads": 2,
                "joint_dim": 32, "frames": 1, "regions": REGIONS, "text_encoder": str(world / "text"),
            },
            "data": {"shards": [world / "shards"], "frames": 1, "regions": REGIONS, "batch_size": CLIPS},
            "loss": {"sharpness": 20},
            "optimiser": {"lr": 3e-3, "schedule": "cosine", "warmup_steps": 10},
        }
    )  # fmt: skip
    assert run(settings).model is not None
    model = RegionTextModel.from_pretrained(out / "model")
    stored = read_stored(world / "shards")
    plan = list(read_manifest(world / "m.parquet"))
    texts = embed_sentences(model, [item.captions[0] for item in plan])
    found = []
    for count in (REGIONS, 5):  # no clip has more than five things: three rows more are padding, and nothing else
        torch.manual_seed(0)
        videos = embed_videos(model, stored, [item.id for item in plan], frames=1, regions=count)
        found.append(score_matrix(videos, texts, model.loss).combined_UB[texts.row_C])
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=0, msg="padding changes the scores")
    return 100 * (found[0].argmax(1) == torch.arange(CLIPS)).float().mean().item()


def flip_the_sign(patch: pytest.MonkeyPatch) -> None:
    right = train.losses.info_nce
    patch.setattr(train.losses, "info_nce", lambda similarity, temperature: right(-similarity, temperature))


def drop_the_mask(patch: pytest.MonkeyPatch) -> None:
    right = Keys.of.__func__
    patch.setattr(Keys, "of", classmethod(lambda cls, mask: right(cls, torch.ones_like(mask))))


def shuffle_the_boxes(patch: pytest.MonkeyPatch) -> None:
    right = VideoEncoder.forward

    def forward(self: VideoEncoder, batch: RegionBatch) -> Tensor:
        boxes, real = batch.boxes_BFRK.clone(), batch.mask_BFR
        boxes[real] = boxes[real][torch.randperm(int(real.sum()))]
        return right(self, replace(batch, boxes_BFRK=boxes))

    patch.setattr(VideoEncoder, "forward", forward)


def take_the_next_caption(patch: pytest.MonkeyPatch) -> None:
    right = RegionTextModel.forward

    def forward(self: RegionTextModel, batch: RegionBatch, text: object) -> object:
        return right(self, batch, text.__class__(text.input_ids_CL.roll(1, 0), text.attention_mask_CL.roll(1, 0)))

    patch.setattr(RegionTextModel, "forward", forward)


def test_forty_clips_are_learnt_by_heart(world: Path, tmp_path: Path) -> None:
    assert recall(world, tmp_path / "run") >= 95


@pytest.mark.parametrize("mistake", [flip_the_sign, shuffle_the_boxes, take_the_next_caption])
def test_a_mistake_is_found_out(
    mistake: Callable[[pytest.MonkeyPatch], None], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    assert recall(world, tmp_path / "run") < 80


def test_a_dropped_mask_is_found_out(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop_the_mask(monkeypatch)
    with pytest.raises(AssertionError, match="padding changes the scores"):
        recall(world, tmp_path / "run")
