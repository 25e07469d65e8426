"""How the video encoder's weights begin, and what it learns of motion: with and without each of our choices.

A perfect detector sees made clips of families. From [CLS] alone a linear head, or one that is asked for a thing, learns
in ``_STEPS`` steps. What is compared begins otherwise and is the same in everything else. So much of this is about
small models that start from nothing: released weights bring their own.

Letters: N clips, F frames, R things, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_specs.regions import boxes_from_corners
from data_specs.shapes.families import MOST_THINGS, make_families
from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import CHANGING, CLASS_NAMES, DURATION_S, HEIGHT, WIDTH, class_index
from pipelines.proof.scale import FULL
from train.batch import RegionBatch
from train.config import ModelConfig
from train.networks.initial import initial_std
from train.networks.video_encoder import VideoEncoder

_TRAIN, _TEST, _FRAMES, _FEATURES, _BATCH, _STEPS, _LR = 2000, 400, 8, 64, 64, 400, 1e-3
_LOUDER = 3.0  # features are then as long as those of the shapes detector, some 25
_CONFIG = ModelConfig(
    preset="tiny",
    feature_dim=_FEATURES,
    width=128,
    depth=2,
    heads=4,
    joint_dim=128,
    frames=_FRAMES,
    regions=MOST_THINGS,
    box_std=FULL.box_std,
)
_PLAIN = float(ModelConfig.model_fields["box_std"].default)
Change = Callable[[VideoEncoder], None]


@dataclass(frozen=True)
class Clips:
    """Regions, and of every thing its class [N, R] and motion [N, R], -1 where it stays still or there is none; drift
    [N]: how far what moves goes to the right, in widths of the frame."""

    regions: RegionBatch
    classes: Tensor
    motions: Tensor
    drift: Tensor


def measure(rounds: int) -> dict[str, Any]:
    """For each of ``rounds`` seeds: the share of held-out motions that is right (6 kinds), and the error of the drift
    (1: that of always saying the mean)."""
    train, test = _clips("train", _TRAIN), _clips("test", _TEST)
    found: dict[str, Any] = {"steps": _STEPS, "clips": [_TRAIN, _TEST]}
    for name, change in {
        "as it begins in the proof": _told_apart,
        "temporal_std 0": lambda encoder: None,
        f"box_std {_PLAIN}": lambda encoder: _begin_boxes(encoder, _PLAIN),
        "boxes as all other weights": lambda encoder: _begin_boxes(encoder, initial_std(_CONFIG.width)),
    }.items():
        found[name] = {
            "drift_error": [round(_drift(change, train, test, seed), 3) for seed in range(rounds)],
            "motion_right": [round(_motion(change, train, test, seed), 3) for seed in range(rounds)],
        }
    ours = found["as it begins in the proof"]
    for name in found.keys() - {"steps", "clips", "as it begins in the proof"}:
        for figure, values in list(found[name].items()):
            pairs = zip(ours[figure], values, strict=True)
            found[name][f"{figure}_of_the_proof_over_this"] = [round(a / b, 3) for a, b in pairs]
    return found


def _told_apart(encoder: VideoEncoder) -> None:
    nn.init.normal_(encoder.temporal_embed, std=FULL.temporal_std)


def _begin_boxes(encoder: VideoEncoder, std: float) -> None:
    """Smaller boxes, in the same directions."""
    _told_apart(encoder)
    assert encoder.pos_embedding is not None
    for parameter in encoder.pos_embedding.parameters():
        parameter.mul_(std / _CONFIG.box_std)


def _drift(change: Change, train: Clips, test: Clips, seed: int) -> float:
    encoder = _encoder(change, seed)
    head = nn.Linear(_CONFIG.joint_dim, 1)

    def error(clips: Clips, rows: Tensor) -> Tensor:
        return F.mse_loss(head(_cls(encoder, clips, rows))[:, 0], clips.drift[rows]) / train.drift.var()

    _learn([encoder, head], lambda rows: error(train, rows), seed)
    with torch.no_grad():
        return float(error(test, torch.arange(_TEST)))


def _motion(change: Change, train: Clips, test: Clips, seed: int) -> float:
    encoder = _encoder(change, seed)
    D = _CONFIG.joint_dim
    asked = nn.Embedding(len(CLASS_NAMES), D)
    head = nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.Linear(D, len(CHANGING)))

    def answers(clips: Clips, rows: Tensor) -> tuple[Tensor, Tensor]:
        there = clips.motions[rows] >= 0
        about_NRD = _cls(encoder, clips, rows)[:, None] * asked(clips.classes[rows].clamp(min=0))
        return head(about_NRD[there]), clips.motions[rows][there]

    _learn([encoder, asked, head], lambda rows: F.cross_entropy(*answers(train, rows)), seed)
    with torch.no_grad():
        said, right = answers(test, torch.arange(_TEST))
        return float((said.argmax(-1) == right).double().mean())


def _encoder(change: Change, seed: int) -> VideoEncoder:
    torch.manual_seed(seed)
    encoder = VideoEncoder(_CONFIG)
    with torch.no_grad():
        change(encoder)
    return encoder


def _cls(encoder: VideoEncoder, clips: Clips, rows: Tensor) -> Tensor:
    whole = clips.regions
    return encoder(RegionBatch(whole.features_BFRV[rows], whole.boxes_BFRK[rows], whole.mask_BFR[rows]))[:, 0]


def _learn(modules: Sequence[nn.Module], loss: Callable[[Tensor], Tensor], seed: int) -> None:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        loss(torch.randint(_TRAIN, (_BATCH,), generator=drawn)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()


def _clips(split: str, count: int) -> Clips:
    rng = np.random.default_rng(0)
    looks = np.abs(np.random.default_rng(1).standard_normal((len(CLASS_NAMES), _FEATURES)))
    features = np.zeros((count, _FRAMES, MOST_THINGS, _FEATURES), np.float32)
    boxes, mask = np.zeros((count, _FRAMES, MOST_THINGS, 7), np.float32), np.zeros((count, _FRAMES, MOST_THINGS), bool)
    classes, motions = (np.full((count, MOST_THINGS), -1) for _ in range(2))
    drift = np.zeros(count, np.float32)
    for number, scene in enumerate(make_families(0, split, count)):
        own = [class_index(thing.shape, thing.colour) for thing in scene.things]
        classes[number, : len(own)] = own
        motions[number, : len(own)] = [CHANGING.index(t.motion) if t.motion in CHANGING else -1 for t in scene.things]
        drift[number] = sum(thing.end[0] - thing.start[0] for thing in scene.things) / WIDTH
        for frame in range(_FRAMES):
            order = rng.permutation(len(own))  # a detector's most confident region is another thing each time
            noise = rng.normal(0, 0.2, (len(own), _FEATURES))
            features[number, frame, : len(own)] = _LOUDER * np.abs(looks[np.array(own)[order]] + noise)
            corners = render_frame(scene, (frame + 0.5) / _FRAMES * DURATION_S).boxes
            boxes[number, frame, : len(own)] = boxes_from_corners(corners, (HEIGHT, WIDTH))[order]
            mask[number, frame, : len(own)] = True
    regions = RegionBatch(torch.from_numpy(features).half(), torch.from_numpy(boxes), torch.from_numpy(mask))
    return Clips(regions, torch.from_numpy(classes), torch.from_numpy(motions), torch.from_numpy(drift))
