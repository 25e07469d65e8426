"""Makes the embedded detector: trains it on scenes of ``shapes`` and measures its recall on unseen ones.

A frame is drawn, compressed as a JPEG of random quality (clips are compressed too) and never seen twice.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeTransform
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.ops import box_iou

from data_specs import atomic
from data_specs.regions import corners_from_boxes
from data_specs.shapes.render import FrameTruth, render_frame
from data_specs.shapes.scene import CLASS_NAMES, DURATION_S, make_scene
from extract.detector import Detector
from extract.networks.faster_rcnn import build_config
from extract.networks.weights import load_weights
from extract.presets import PRESETS, DetectorSettings, load_preset

_HIDDEN = 0.5  # an object less visible than this is not counted as missed
_IOU = 0.5
_LEARNT = 0.3  # less visible than this is no object to learn
_SCENES_A_PICTURE = 3
_SCENES_A_PHASE = 10_000_000
_PLAIN_EVERY = 50  # steps between two lines where there is no terminal


@dataclass(frozen=True)
class Phase:
    """Steps from one peak of the learning rate to zero; height: of the frames, in pixels."""

    steps: int
    lr: float
    height: int


PHASES = (Phase(900, 1.2e-3, 144), Phase(550, 8e-4, 216))  # small frames first: they are cheaper


@dataclass(frozen=True)
class Recall:
    """objects: how many were looked for. found: share with the right shape and colour at IoU 0.5 among the regions.

    confident: share also scored 0.5 or more.
    """

    objects: int
    found: float
    confident: float


def make_detector(out: Path | None, *, start: Path | None, batch: int, seed: int, scenes: int) -> Recall:
    """Trains, saves ``shapes.safetensors`` and ``shapes.recall.json`` to ``out`` and returns the recall.

    start: weights that the last phase goes on from; None: random weights, and every phase.
    """
    out = out or PRESETS
    settings = load_preset("shapes")
    phases = PHASES if start is None else PHASES[-1:]
    state = None if start is None else load_weights(start)
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("train", total=sum(phase.steps for phase in phases), loss=float("nan"))

        def report(step: int, loss: float) -> None:
            progress.update(task, advance=1, loss=loss)
            if not progress.console.is_terminal and step % _PLAIN_EVERY == 0:
                progress.console.print(f"step {step}  loss {loss:.3f}", highlight=False)

        for phase in phases:
            model = train(settings, phase, state, batch, seed, report)
            state = model.state_dict()
    path = (out / settings.weights).absolute()
    save_weights(model, path)
    detector = Detector(settings.model_copy(update={"weights": str(path), "sha256": ""}))
    recall = measure_recall(detector, scenes, seed)
    made = {"phases": [asdict(phase) for phase in PHASES], "batch": batch, "seed": seed, "scenes": scenes}
    text = json.dumps({"sha256": detector.weights_sha256, "made_with": made, "recall": asdict(recall)}, indent=1)
    atomic.write_text(out / "shapes.recall.json", text + "\n")
    return recall


def train(
    settings: DetectorSettings,
    phase: Phase,
    state: dict[str, Tensor] | None,
    batch: int,
    seed: int,
    report: Callable[[int, float], None],
) -> nn.Module:
    """One phase, from ``state`` or random weights; ``report`` gets step and loss of each step.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    torch.manual_seed(seed)
    model = build_model(_config_of(settings, phase)).train()
    if state is not None:
        model.load_state_dict(state, strict=False)
    model = model.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    optimiser = torch.optim.AdamW(model.parameters(), lr=phase.lr, weight_decay=1e-4)
    warm_up = max(phase.steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / phase.steps)) + 1e-3)
    )
    frames = training_frames(seed, PHASES.index(phase), phase.height)
    with EventStorage():
        for step in range(phase.steps):
            losses = model([next(frames) for _ in range(batch)])
            loss = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(loss):
                raise FloatingPointError(f"step {step}: the loss is {loss.item()}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            report(step, loss.item())
    return model.eval()


def training_frames(seed: int, phase: int, height: int) -> Iterator[dict]:
    """Endless inputs of a detectron2 model in training, each a fresh picture of the train split at a random moment.

    The things of several scenes are drawn into one: more objects, and more of them half hidden, for the same price.
    """
    rng = np.random.default_rng([seed, phase])
    index = phase * _SCENES_A_PHASE
    while True:
        scenes = [make_scene(seed, "train", index + n) for n in range(_SCENES_A_PICTURE)]
        index += _SCENES_A_PICTURE
        crowd = dataclasses.replace(scenes[0], things=tuple(thing for scene in scenes for thing in scene.things))
        truth = render_frame(crowd, float(rng.uniform(0, DURATION_S)))
        image = as_jpeg(truth.image, int(rng.integers(35, 96)))
        scale = height / image.shape[0]
        transform = ResizeTransform(*image.shape[:2], height, round(image.shape[1] * scale))
        image = np.array(transform.apply_image(image))
        instances = Instances(image.shape[:2])
        shown = truth.visible >= _LEARNT
        instances.gt_boxes = Boxes(torch.from_numpy(truth.boxes[shown] * np.float32(scale)))
        instances.gt_classes = torch.from_numpy(truth.labels[shown]).long()
        yield {"image": torch.from_numpy(image).permute(2, 0, 1).contiguous(), "instances": instances}


def _config_of(settings: DetectorSettings, phase: Phase) -> CfgNode:
    """The detector's configuration with its anchors in proportion to the phase's frames."""
    config = build_config(settings, "cpu").clone()
    config.defrost()
    scale = phase.height / config.INPUT.MIN_SIZE_TEST
    config.MODEL.ANCHOR_GENERATOR.SIZES = [[size * scale for size in config.MODEL.ANCHOR_GENERATOR.SIZES[0]]]
    config.freeze()
    return config


def as_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The frame as it looks after JPEG compression."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def measure_recall(detector: Detector, scenes: int, seed: int, split: str = "test", regions: int = 30) -> Recall:
    """Recall on one frame each of ``scenes`` scenes that training never draws."""
    rng = np.random.default_rng(seed)
    objects = found = confident = 0
    for index in range(scenes):
        truth = render_frame(make_scene(seed, split, index), float(rng.uniform(0, DURATION_S)))
        hits = matches(detector, as_jpeg(truth.image, 80), truth, regions)
        objects += len(hits)
        found += sum(score > 0 for score in hits)
        confident += sum(score >= 0.5 for score in hits)
    return Recall(objects, found / objects, confident / objects)


def matches(detector: Detector, image: NDArray[np.uint8], truth: FrameTruth, regions: int) -> list[float]:
    """For each object that can be seen: the best score of a region of its class that overlaps it, 0 if none does."""
    size = image.shape[:2]
    regions_found = detector.detect(image[None], regions)
    corners = torch.from_numpy(corners_from_boxes(regions_found.boxes[0], size))
    overlap = box_iou(torch.from_numpy(truth.boxes), corners).numpy()
    right = (overlap >= _IOU) & (truth.labels[:, None] == regions_found.labels[0][None, :])
    best = np.where(right, regions_found.scores[0][None, :], 0.0).max(axis=1)
    return [float(score) for score, visible in zip(best, truth.visible, strict=True) if visible >= _HIDDEN]


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes the weights in half precision (the file is committed) as safetensors, atomically."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic.replacing(path) as temporary:
        save_file(state, temporary, metadata={"classes": ",".join(CLASS_NAMES)})
