"""A detector as a function from the frames of a clip to their regions, whatever network is behind it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.regions import Regions
from data_specs.shards import file_sha256
from extract.networks.bottom_up import BottomUp
from extract.networks.candidates import Candidates
from extract.networks.faster_rcnn import FasterRCNN
from extract.presets import DetectorSettings, find_weights, read_names
from extract.selection import ReferenceRule, Selection, select_as_reference, select_regions

_FAMILIES = {"detectron2": FasterRCNN, "bottom-up-d2": FasterRCNN, "bottom-up-caffe": BottomUp}
_PRECISIONS = {"none": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Detector:
    """Gives the most confident regions of each frame with pooled features; frames of a clip share forward passes."""

    def __init__(self, settings: DetectorSettings, device: str = "cpu") -> None:
        """Builds the network and loads its weights.

        Raises:
            InputError: no such device or precision on it, or configuration or weights are absent or do not fit.
        """
        check_device(device)
        torch.backends.cudnn.allow_tf32 = False  # amp says the precision, the same on every card
        torch.backends.cuda.matmul.allow_tf32 = False
        self.settings, self.device = settings, torch.device(device)
        if settings.amp == "fp16" and self.device.type == "cpu":
            raise InputError(f"detector {settings.name!r}: amp: fp16 needs a GPU; on the CPU take bf16 or none")
        path = find_weights(settings)
        self.weights_sha256 = file_sha256(path)
        self.network = _FAMILIES[settings.family](settings, path, device)
        self._check_preset()

    @torch.inference_mode()
    def detect(self, images: NDArray[np.uint8], regions: int) -> Regions:
        """The ``regions`` most confident regions of each frame of images uint8 [F, H, W, 3] RGB.

        Raises:
            InputError: no feature of a frame is finite.
        """
        size = images.shape[1:3]
        frames = []
        for candidates in self.candidates(images):
            if len(candidates.features_NV) and not torch.isfinite(candidates.features_NV).any():
                raise InputError(
                    f"detector {self.settings.name!r}: its features are not finite (amp: {self.settings.amp});"
                    " the weights are broken, or want more precision: detector.amp=none or bf16"
                )
            whole = candidates.inside(size)
            frames.append(whole.pack(self._select(whole, regions), regions, size).arrays())
        return Regions(**{name: np.concatenate([frame[name] for frame in frames]) for name in frames[0]})

    @torch.inference_mode()
    def candidates(self, images: NDArray[np.uint8]) -> list[Candidates]:
        """Everything the network finds in each frame of images uint8 [F, H, W, 3] RGB, before selection."""
        step, precision = self.settings.batch, _PRECISIONS[self.settings.amp]
        with torch.autocast(self.device.type, precision, enabled=self.settings.amp != "none"):
            return [
                found for at in range(0, len(images), step) for found in self.network.candidates(images[at : at + step])
            ]

    def _check_preset(self) -> None:
        settings, network = self.settings, self.network
        attributes = read_names(settings.attributes_file, settings.weights)
        if network.width != settings.feature_dim:
            raise InputError(
                f"detector {settings.name!r}: its features are {network.width} wide, feature_dim says otherwise"
            )
        for what, named, known in (
            ("classes", settings.classes, network.classes),
            ("attributes", attributes, network.attributes),
        ):
            if named and known != len(named):
                raise InputError(f"detector {settings.name!r}: it knows {known} {what}, {len(named)} are named")

    def _select(self, found: Candidates, regions: int) -> Selection:
        settings, overlap = self.settings, self.network.overlap
        if settings.selection == "reference":
            rule = ReferenceRule(settings.min_boxes, settings.max_boxes, settings.min_confidence)
            return select_as_reference(found.scores_NC, found.boxes, regions, overlap, rule)
        return select_regions(found.scores_NC, found.boxes, regions, overlap, settings.min_score)


def check_device(name: str) -> None:
    """Raises InputError where torch has no such device."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from None
