"""A detectron2 Faster R-CNN as a function from frames to regions, batched over the frames of a clip.

Letters: F frames, N proposals of a frame, C classes without background, R regions kept, V feature width.
"""

from __future__ import annotations

import dataclasses
import warnings
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
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data_specs.errors import InputError
from data_specs.regions import BOX_DIM, Regions, boxes_from_corners
from data_specs.shards import file_sha256
from extract.presets import DetectorSettings, find_weights
from extract.selection import select_regions

# detectron2 0.6 calls torch.meshgrid in a way that is still right and that newer torch warns of at every start.
warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release", category=UserWarning)

_MAY_BE_UNUSED = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors")


class Detector:
    """Faster R-CNN (C4, DC5 or FPN) that gives the most confident regions of each frame with pooled features."""

    def __init__(self, settings: DetectorSettings, device: str = "cpu") -> None:
        """Builds the model and loads its weights.

        Raises:
            InputError: no such device, or configuration or weights are absent or do not fit each other.
        """
        check_device(device)
        path = find_weights(settings)
        self.settings = settings
        self.weights_sha256 = file_sha256(path)
        self.config = build_config(settings, device)
        self.model = _build(settings, self.config)
        _load(self.model, path)

    @torch.inference_mode()
    def detect(self, images: NDArray[np.uint8], regions: int) -> Regions:
        """The ``regions`` most confident regions of each frame of images uint8 [F, H, W, 3] RGB."""
        step = self.settings.batch
        frames = [found for at in range(0, len(images), step) for found in self._batch(images[at : at + step], regions)]
        names = [field.name for field in dataclasses.fields(Regions) if getattr(frames[0], field.name) is not None]
        return Regions(**{name: np.concatenate([getattr(frame, name) for frame in frames]) for name in names})

    def _batch(self, images: NDArray[np.uint8], regions: int) -> list[Regions]:
        size = images.shape[1:3]
        batch, scale_yx = self._prepare(images)
        maps = self.model.backbone(batch.tensor)
        proposals, _ = self.model.proposal_generator(batch, maps, None)
        features = pooled_features(self.model, maps, [p.proposal_boxes for p in proposals])
        predictor = self.model.roi_heads.box_predictor
        predictions = predictor(features)
        scores = predictor.predict_probs(predictions, proposals)
        boxes = predictor.predict_boxes(predictions, proposals)
        counts = [len(p) for p in proposals]
        return [
            self._frame(*frame, scale_yx, size, regions)
            for frame in zip(features.split(counts), scores, boxes, strict=True)
        ]

    def _prepare(self, images: NDArray[np.uint8]) -> tuple[ImageList, tuple[float, float]]:
        height, width = images.shape[1:3]
        target = ResizeShortestEdge.get_output_shape(
            height, width, self.config.INPUT.MIN_SIZE_TEST, self.config.INPUT.MAX_SIZE_TEST
        )
        transform = ResizeTransform(height, width, *(max(side, 1) for side in target))
        order = slice(None, None, -1) if self.config.INPUT.FORMAT == "BGR" else slice(None)
        resized = np.stack([transform.apply_image(image[:, :, order]) for image in images])
        tensor = torch.from_numpy(resized).permute(0, 3, 1, 2).to(self.model.device, torch.float32)
        normalised = (tensor - self.model.pixel_mean) / self.model.pixel_std
        batch = ImageList.from_tensors(list(normalised), self.model.backbone.size_divisibility)
        return batch, (resized.shape[1] / height, resized.shape[2] / width)

    def _frame(
        self,
        features_NV: Tensor,
        scores_NC: Tensor,
        boxes: Tensor,
        scale_yx: tuple[float, float],
        size: tuple[int, int],
        regions: int,
    ) -> Regions:
        boxes_NC4 = boxes.reshape(len(boxes), -1, 4)
        scores_NC = scores_NC[:, :-1]  # background is last
        finite = torch.isfinite(boxes_NC4).flatten(1).all(1) & torch.isfinite(scores_NC).all(1)
        finite &= torch.isfinite(features_NV).all(1)
        scores_NC = torch.where(finite[:, None], scores_NC, 0.0)
        boxes_NC4 = torch.nan_to_num(boxes_NC4)
        height, width = size
        boxes_NC4 = boxes_NC4 / boxes_NC4.new_tensor([scale_yx[1], scale_yx[0]] * 2)
        boxes_NC4 = torch.minimum(boxes_NC4.clamp(min=0), boxes_NC4.new_tensor([width, height] * 2))
        kept = select_regions(scores_NC, boxes_NC4, regions, self.settings.nms, self.settings.min_score)
        corners = boxes_NC4[kept.rows, kept.classes if boxes_NC4.shape[1] > 1 else 0]
        return _pack(features_NV[kept.rows], corners, kept.confidence, kept.classes, regions, size)


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


def check_device(name: str) -> None:
    """Raises InputError where torch has no such device."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from None


def pooled_features(model: nn.Module, maps: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
    """Pooled features [sum N, V] of boxes: the mean of res5 for C4 models, the box head's output for the others."""
    heads = model.roi_heads
    if hasattr(heads, "res5"):
        return heads._shared_roi_transform([maps[name] for name in heads.in_features], boxes).mean(dim=(2, 3))
    pooled = heads.box_pooler([maps[name] for name in heads.box_in_features], boxes)
    return heads.box_head(pooled)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{A: {B: 1}}`` as ``{"A.B": 1}``: ``--set detector.overrides.A.B=1`` means the one key."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _build(settings: DetectorSettings, config: CfgNode) -> nn.Module:
    """The model with random weights, checked against what the preset says of it."""
    try:
        model = build_model(config).eval()
    except (KeyError, AttributeError, ValueError, AssertionError) as error:
        raise InputError(f"detector {settings.name!r}: detectron2 cannot build it: {error}") from None
    if not hasattr(model, "roi_heads") or not hasattr(model.roi_heads, "box_predictor"):
        raise InputError(
            f"detector {settings.name!r}: {settings.config} has no RoI heads, so it gives no region features"
        )
    width, classes = model.roi_heads.box_predictor.cls_score.in_features, config.MODEL.ROI_HEADS.NUM_CLASSES
    if width != settings.feature_dim:
        raise InputError(f"detector {settings.name!r}: its features are {width} wide, feature_dim says otherwise")
    if settings.classes and classes != len(settings.classes):
        raise InputError(f"detector {settings.name!r}: it knows {classes} classes, {len(settings.classes)} are named")
    return model


def load_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in single precision.

    Raises:
        InputError: not a safetensors file.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}; convert with: python -m extract convert") from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _load(model: nn.Module, path: Path) -> None:
    state = load_weights(path)
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit the detector: {error}") from None
    unexpected = [name for name in result.unexpected_keys if not any(part in name for part in _MAY_BE_UNUSED)]
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise InputError(f"{path}: does not fit the detector: missing {missing[:3]}, unexpected {unexpected[:3]}")


def _pack(
    features_KV: Tensor,
    corners_K4: Tensor,
    confidence_K: Tensor,
    classes_K: Tensor,
    regions: int,
    size: tuple[int, int],
) -> Regions:
    count = len(confidence_K)
    packed = {
        "features": np.zeros((1, regions, features_KV.shape[1]), np.float16),
        "boxes": np.zeros((1, regions, BOX_DIM), np.float32),
        "scores": np.zeros((1, regions), np.float32),
        "labels": np.full((1, regions), -1, np.int32),
    }
    largest = float(np.finfo(np.float16).max)
    packed["features"][0, :count] = features_KV.clamp(-largest, largest).cpu().numpy()
    packed["boxes"][0, :count] = boxes_from_corners(corners_K4.cpu().numpy(), size)
    packed["scores"][0, :count] = confidence_K.clamp(0, 1).cpu().numpy()
    packed["labels"][0, :count] = classes_K.cpu().numpy()
    return Regions(count=np.array([count], np.int32), **packed)
