"""A detectron2 Faster R-CNN as a function from frames to candidates, batched over frames of one size.

Letters: F frames, N proposals of a frame, C classes without background, V feature width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import detectron2
import numpy as np
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList
from numpy.typing import NDArray
from torch import Tensor, nn

from data_specs.errors import InputError
from extract.networks.attributes import ATTRIBUTES, AttributePredictor
from extract.networks.candidates import Candidates
from extract.networks.suppression import Overlap, detectron2_overlap
from extract.networks.weights import fit_weights
from extract.presets import DetectorSettings

# detectron2 0.6 calls torch.meshgrid in a way that is still right and that newer torch warns of at every start.
warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release", category=UserWarning)

_MAY_BE_UNUSED = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors", "num_batches_tracked")
_MAY_BE_ABSENT = ("num_batches_tracked",)


class FasterRCNN:
    """Faster R-CNN (C4, DC5 or FPN), of family ``bottom-up-d2`` with attributes."""

    def __init__(self, settings: DetectorSettings, weights: Path, device: str) -> None:
        """Builds the model and loads its weights.

        Raises:
            InputError: configuration, preset or weights do not fit each other.
        """
        self.settings = settings
        self.config = build_config(settings, device)
        self.model = build_network(settings, self.config)
        fit_weights(self.model, weights, _MAY_BE_UNUSED, _MAY_BE_ABSENT)
        self.order = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model.to(memory_format=self.order)
        self.width = self.model.roi_heads.box_predictor.cls_score.in_features
        self.classes = self.config.MODEL.ROI_HEADS.NUM_CLASSES
        self.attributes = ATTRIBUTES if settings.family == "bottom-up-d2" else 0

    @property
    def overlap(self) -> Overlap:
        """How its selection compares boxes."""
        return detectron2_overlap(self.settings.nms)

    def candidates(self, images: NDArray[np.uint8]) -> list[Candidates]:
        """The proposals of each frame of images uint8 [F, H, W, 3] RGB, with features, scores and boxes."""
        batch, scale_yx = self._prepare(images)
        maps = self.model.backbone(batch.tensor)
        proposals, _ = self.model.proposal_generator(batch, maps, None)
        features = pooled_features(self.model, maps, [p.proposal_boxes for p in proposals], self.settings.rois_per_pass)
        predictor = self.model.roi_heads.box_predictor
        logits, deltas = (output.float() for output in predictor(features))
        counts = [len(p) for p in proposals]
        scores = predictor.predict_probs((logits, deltas), proposals)
        boxes = self._boxes(proposals, (logits, deltas))
        back = logits.new_tensor([scale_yx[1], scale_yx[0]] * 2, dtype=torch.float64)
        attributes = self._attributes(features, logits, counts)
        return [
            Candidates(features_NV, scores_NC[:, :-1], corners.reshape(-1, corners.shape[1] // 4, 4) / back, *found)
            for features_NV, scores_NC, corners, found in zip(  # background is the last class
                features.split(counts), scores, boxes, attributes, strict=True
            )
        ]

    def _boxes(self, proposals: list[Any], predictions: tuple[Tensor, Tensor]) -> list[Tensor]:
        if self.settings.boxes == "proposals":
            return [p.proposal_boxes.tensor for p in proposals]
        return list(self.model.roi_heads.box_predictor.predict_boxes(predictions, proposals))

    def _attributes(self, features: Tensor, logits: Tensor, counts: list[int]) -> list[tuple[Tensor, ...]]:
        """Label and score of each proposal's likeliest attribute, frame by frame; nothing without the head."""
        if self.settings.family != "bottom-up-d2":
            return [()] * len(counts)
        found = self.model.roi_heads.attribute_predictor(features, logits.argmax(dim=1)).max(dim=1)
        return list(zip(found.indices.split(counts), found.values.split(counts), strict=True))

    def _prepare(self, images: NDArray[np.uint8]) -> tuple[ImageList, tuple[float, float]]:
        height, width = images.shape[1:3]
        target = ResizeShortestEdge.get_output_shape(
            height, width, self.config.INPUT.MIN_SIZE_TEST, self.config.INPUT.MAX_SIZE_TEST
        )
        transform = ResizeTransform(height, width, *(max(side, 1) for side in target))
        order = slice(None, None, -1) if self.config.INPUT.FORMAT == "BGR" else slice(None)
        resized = np.stack([transform.apply_image(image[:, :, order]) for image in images])
        tensor = torch.from_numpy(resized).to(self.model.device).permute(0, 3, 1, 2).float()
        tensor.sub_(self.model.pixel_mean).div_(self.model.pixel_std)
        multiple = max(self.model.backbone.size_divisibility, 1)
        beyond = [0, -resized.shape[2] % multiple, 0, -resized.shape[1] % multiple]  # right and below
        padded = nn.functional.pad(tensor, beyond) if any(beyond) else tensor
        batch = ImageList(padded.contiguous(memory_format=self.order), [resized.shape[1:3]] * len(resized))
        return batch, (resized.shape[1] / height, resized.shape[2] / width)


def build_config(settings: DetectorSettings, device: str) -> CfgNode:
    """The detectron2 configuration of a preset: the zoo's file, then the preset's overrides.

    Raises:
        InputError: an unknown zoo file or detectron2 key.
    """
    folder = (Path(detectron2.__file__).parent / "model_zoo" / "configs").resolve()
    path = (folder / settings.config).resolve()
    if not path.is_file() or folder not in path.parents:
        raise InputError(f"detector {settings.name!r}: config {settings.config!r} is not in detectron2's model zoo")
    config = get_cfg()
    try:
        config.merge_from_file(str(path), allow_unsafe=False)
        config.merge_from_list([part for pair in _flat(settings.overrides).items() for part in pair])
    except (AssertionError, KeyError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"detector {settings.name!r}: config or overrides: {error}") from None
    config.MODEL.DEVICE = device
    config.MODEL.WEIGHTS = ""
    config.MODEL.MASK_ON = False
    config.MODEL.KEYPOINT_ON = False
    config.freeze()
    return config


def build_network(settings: DetectorSettings, config: CfgNode) -> nn.Module:
    """The model with random weights.

    Raises:
        InputError: detectron2 cannot build it, or it has no heads that give region features.
    """
    try:
        model = build_model(config).eval()
    except (KeyError, AttributeError, ValueError, AssertionError) as error:
        raise InputError(f"detector {settings.name!r}: detectron2 cannot build it: {error}") from None
    if not hasattr(model, "roi_heads") or not hasattr(model.roi_heads, "box_predictor"):
        raise InputError(
            f"detector {settings.name!r}: {settings.config} has no RoI heads, so it gives no region features"
        )
    if settings.family == "bottom-up-d2":
        width, classes = model.roi_heads.box_predictor.cls_score.in_features, config.MODEL.ROI_HEADS.NUM_CLASSES
        model.roi_heads.attribute_predictor = AttributePredictor(width, classes).to(config.MODEL.DEVICE)
    return model


def pooled_features(model: nn.Module, maps: dict[str, Tensor], boxes: list[Boxes], at_once: int) -> Tensor:
    """Pooled features [sum N, V] of boxes: the mean of res5 for C4 models, the box head's output for the others.

    at_once: so many boxes go through the head together at most.
    """
    heads = model.roi_heads
    maps = {name: found.float() for name, found in maps.items()}  # RoIAlign rounds corners to the type of its maps
    found = []
    for part in _parts(boxes, at_once):
        if hasattr(heads, "res5"):
            pooled = heads._shared_roi_transform([maps[name] for name in heads.in_features], part)
            found.append(pooled.float().mean(dim=(2, 3)))
        else:
            found.append(heads.box_head(heads.box_pooler([maps[name] for name in heads.box_in_features], part)).float())
    return torch.cat(found)


def _parts(boxes: list[Boxes], at_once: int) -> Iterator[list[Boxes]]:
    """The boxes of all frames, so many at a time, each time as a list over the frames."""
    counts = [len(frame) for frame in boxes]
    starts = np.concatenate([[0], np.cumsum(counts)])
    for begin in range(0, max(sum(counts), 1), at_once):
        cuts = [np.clip((begin - start, begin + at_once - start), 0, None) for start in starts[:-1]]
        yield [frame[int(first) : int(last)] for frame, (first, last) in zip(boxes, cuts, strict=True)]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{A: {B: 1}}`` as ``{"A.B": 1}``: ``--set detector.overrides.A.B=1`` means the one key."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
