"""Bottom-up-attention detectors with random weights, and their stages, for the tests of several modules."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from extract.networks.bottom_up import BottomUp
from extract.presets import BottomUpSettings, DetectorSettings
from tests.extract.networks import bottom_up_reference as reference
from tests.extract.networks.bottom_up_reference import Network, Stages, State

MEAN = (102.9801, 115.9465, 122.7717)
SMALL = Network(
    depth=50, width=8, classes=20, attributes=9, shorter=96, longer=160, candidates=150, proposals=20, min_side=12.0
)
SMALL_152 = replace(SMALL, depth=152, pre_activation=True)
PUBLISHED = Network(shorter=64, longer=107, candidates=200, proposals=6, min_side=4.0)


def mean_of(network: Network) -> tuple[float, float, float]:
    return (0, 0, 0) if network.pre_activation else MEAN


def settings_of(network: Network, weights: Path, **more: object) -> DetectorSettings:
    pre = network.pre_activation
    bottom_up = BottomUpSettings(
        depth=network.depth,
        width=network.width,
        num_classes=network.classes,
        num_attributes=network.attributes,
        shorter_side=network.shorter,
        longer_side=network.longer,
        candidates=network.candidates,
        proposals=network.proposals,
        min_side=network.min_side,
        pre_activation=pre,
        stride_in_1x1=not pre,
        res5_dilation=1 if pre else 2,
        pixel_mean=mean_of(network),
    )
    chosen = {"name": "made", "nms": 0.3, "boxes": "proposals", **more}
    return DetectorSettings(
        family="bottom-up-caffe",
        bottom_up=bottom_up,
        weights=str(weights),
        feature_dim=32 * network.width,
        **chosen,
    )


def make_weights(folder: Path, network: Network, seed: int = 0) -> tuple[State, Path]:
    state, path = reference.random_state(network, seed), folder / "made.safetensors"
    reference.balance(state, reference.detected(some_frames(1)[0], state, network, mean_of(network)).features)
    save_file(state, path)
    return state, path


def some_frames(count: int, height: int = 150, width: int = 203) -> NDArray[np.uint8]:
    """Blurred noise: structure at the scale of the anchors."""
    noise = np.random.default_rng(5).normal(0, 1, (count, 3, height // 8, width // 8))
    tensor = torch.nn.functional.interpolate(torch.from_numpy(noise), (height, width), mode="bicubic")
    return (tensor * 60 + 120).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@torch.inference_mode()
def stages_of(model: BottomUp, frames: NDArray[np.uint8]) -> list[Stages]:
    """The detector's stages, all frames in one batch, then cut into frames."""
    network = model.network
    images, scale = model.prepare(frames)
    stem = network.backbone.stem(images)
    maps = network.roi_heads.shared(network.backbone(images))
    logits, deltas = network.proposal_generator.rpn_head(maps)
    proposals = model.propose(maps, images.shape[-2:], scale)
    counts = [len(boxes) for boxes in proposals]
    features = model.features(maps, proposals).split(counts)
    found = []
    for at, boxes in enumerate(proposals):
        pooled = model.pool(maps, torch.cat([torch.full((len(boxes), 1), float(at)), boxes], dim=1))
        classes, attributes = network.roi_heads.box_predictor(features[at])
        last = network.roi_heads.transform(pooled.clone())
        one = slice(at, at + 1)
        found.append(
            Stages(images[at], scale, stem[one], maps[one], logits[one], deltas[one], boxes.numpy(), pooled, last,
                   features[at], classes, attributes)
        )  # fmt: skip
    return found


def differing(ours: Stages, theirs: Stages, tolerance: float = 1e-4) -> list[str]:
    """Stages that differ in shape, or by more than ``tolerance`` of the stage's largest value."""
    wrong = []
    for field in fields(Stages):
        a, b = (np.asarray(getattr(stages, field.name), np.float64) for stages in (ours, theirs))
        if a.shape != b.shape or np.abs(a - b).max(initial=0) > tolerance * np.abs(b).max(initial=1e-9):
            wrong.append(field.name)
    return wrong
