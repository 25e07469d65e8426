"""Detector presets: which network, which weights, which regions are kept. One YAML each in ``detectors/``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_specs import configuration
from data_specs.configuration import Settings
from data_specs.errors import InputError, did_you_mean
from data_specs.shards import file_sha256

PRESETS = Path(__file__).parent / "detectors"
WEIGHTS_VARIABLE = "REGIONVLP_WEIGHTS"


Family = Literal["detectron2", "bottom-up-d2", "bottom-up-caffe"]


class BottomUpSettings(Settings):
    """A network of family ``bottom-up-caffe``; the defaults are those of bottom-up-attention's R101.

    depth: of the ResNet. width: channels of the stem; all others follow from it. pre_activation: blocks that
    normalise and rectify before they convolve. stride_in_1x1: in a stage's first block; else in the 3x3.
    res5_dilation: 2 keeps the pooled 14x14 map as it is, 1 halves it. pixel_mean: blue, green, red; subtracted before
    the frame is resized to ``shorter_side``, or less where it would be longer than ``longer_side``.
    num_classes, num_attributes: without background and without "no attribute".
    min_side: proposals must be larger than this in the frame's own pixels. candidates: that enter the RPN's
    suppression at ``rpn_nms``. proposals: that leave it.
    """

    depth: Literal[50, 101, 152] = 101
    width: int = Field(default=64, ge=4, multiple_of=4)
    pre_activation: bool = False
    stride_in_1x1: bool = True
    res5_dilation: Literal[1, 2] = 2
    pixel_mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    shorter_side: int = Field(default=600, ge=16)
    longer_side: int = Field(default=1000, ge=16)
    num_classes: int = Field(default=1600, ge=1)
    num_attributes: int = Field(default=400, ge=1)
    min_side: float = Field(default=16.0, ge=0)
    candidates: int = Field(default=6000, ge=1)
    rpn_nms: float = Field(default=0.7, gt=0, le=1)
    proposals: int = Field(default=300, ge=1)


class DetectorSettings(Settings):
    """A detector. Everything here but the texts changes the features, and goes into the provenance of the shards.

    family: which implementation. ``detectron2``: any of its Faster R-CNN. ``bottom-up-d2``: the same with the
    attribute head of bottom-up-attention. ``bottom-up-caffe``: ``bottom_up`` describes the network instead of config.
    config: a file below detectron2's ``model_zoo/configs``. overrides: dotted detectron2 keys set after it.
    weights: a safetensors file beside the YAML, in the working folder's ``weights/`` or in $REGIONVLP_WEIGHTS.
    classes: class names without background, in the order of the model's outputs; or classes_file: a text file of
    them beside the weights, one a line; labels stay numbers where it is absent. attributes_file: of attributes.
    boxes: what is exported, the regressed boxes or the proposals that the features are pooled from.
    nms: per-class suppression IoU of the selection. min_score: candidates at or below it are no regions.
    selection: ``survivors``, the most confident after suppression, or ``reference``, bottom-up-attention's own choice
    with its min_boxes, max_boxes and min_confidence; see ``extract.selection``.
    batch: frames in one forward pass at most; rois_per_pass: regions at once in the heads. They bound memory, and move
    results by float rounding. amp: reduced precision of the network, where the device has it. channels_last: memory
    order of images and weights.
    """

    name: str
    about: str = ""
    family: Family = "detectron2"
    config: str = ""
    overrides: dict[str, Any] = Field(default_factory=dict)
    bottom_up: BottomUpSettings | None = None
    weights: str
    sha256: str = ""
    weights_from: str = ""
    classes: tuple[str, ...] = ()
    classes_file: str = ""
    attributes_file: str = ""
    feature_dim: int
    boxes: Literal["regressed", "proposals"] = "regressed"
    nms: float = Field(default=0.5, gt=0, le=1)
    min_score: float = Field(default=0.0, ge=0, lt=1)
    selection: Literal["survivors", "reference"] = "survivors"
    min_boxes: int = Field(default=10, ge=0)
    max_boxes: int = Field(default=100, ge=1)
    min_confidence: float = Field(default=0.2, ge=0, le=1)
    batch: int = Field(default=8, ge=1)
    rois_per_pass: int = Field(default=128, ge=1)
    amp: Literal["none", "fp16", "bf16"] = "none"
    channels_last: bool = False

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        caffe = self.family == "bottom-up-caffe"
        if caffe == (self.bottom_up is None) or caffe == bool(self.config):
            raise ValueError(f"family {self.family} takes {'bottom_up' if caffe else 'config'}, and not the other")
        if caffe and self.boxes != "proposals":
            raise ValueError("family bottom-up-caffe exports proposals: boxes: proposals")
        if self.selection == "reference" and not caffe:
            raise ValueError("selection: reference is bottom-up-attention's choice, of family bottom-up-caffe")
        if self.min_boxes > self.max_boxes:
            raise ValueError(f"min_boxes {self.min_boxes} is above max_boxes {self.max_boxes}")
        return self


def preset_names() -> list[str]:
    """Names that ``load_preset`` knows."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(name: str) -> DetectorSettings:
    """The settings of ``read_preset(name)``."""
    return configuration.build(DetectorSettings, read_preset(name), f"detector {name}")


def read_preset(name: str) -> dict[str, Any]:
    """The keys of a preset by name, or of a YAML file when ``name`` ends in ``.yaml``; its weights may lie beside it.

    Class names come from its ``classes_file`` where that is found.

    Raises:
        InputError: an unknown name; the nearest are said. Or a file of names that is no UTF-8 text.
    """
    if not name.endswith((".yaml", ".yml")):
        if name not in preset_names():
            raise InputError(
                f"unknown detector {name!r}: {did_you_mean(name, preset_names())} (or give the path of a .yaml file)"
            )
        return _with_names(configuration.read_yaml(PRESETS / f"{name}.yaml"))
    tree = configuration.read_yaml(Path(name))
    beside = Path(name).absolute().parent / str(tree.get("weights", ""))
    return _with_names(tree | {"weights": str(beside)} if beside.is_file() else tree)


def find_weights(settings: DetectorSettings) -> Path:
    """The weights file, its hash checked where the preset states one.

    Raises:
        InputError: not found (where it was looked for and where it comes from), or of another hash.
    """
    candidates = _candidates(settings.weights)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(
            f"detector {settings.name!r}: weights {settings.weights!r} not found in"
            f" {', '.join(str(p.parent) for p in candidates)} (or ${WEIGHTS_VARIABLE}). {settings.weights_from}"
        )
    if settings.sha256 and file_sha256(found) != settings.sha256:
        raise InputError(f"{found}: SHA-256 is not the {settings.sha256} that detector {settings.name!r} states")
    return found


def read_names(file: str, weights: str) -> tuple[str, ...]:
    """Names of classes or attributes, one a line (of synonyms, after commas, the first); none where there is no file.

    file: looked for beside ``weights``, in every place where those may lie.

    Raises:
        InputError: the file is no UTF-8 text.
    """
    candidates = [path.parent / file for path in _candidates(weights)] if file else []
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        return ()
    try:
        lines = found.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{found}: names cannot be read: {error}") from None
    return tuple(line.split(",")[0].strip() for line in lines if line.strip())


def _with_names(tree: dict[str, Any]) -> dict[str, Any]:
    if tree.get("classes"):
        return tree
    names = read_names(str(tree.get("classes_file") or ""), str(tree.get("weights") or ""))
    return tree | {"classes": names} if names else tree


def _candidates(name: str) -> list[Path]:
    """Where a file of that name may lie, the first place first."""
    if os.path.isabs(name):
        return [Path(name)]
    own = [Path(os.environ[WEIGHTS_VARIABLE])] if WEIGHTS_VARIABLE in os.environ else []
    return [place / name for place in (PRESETS, Path("weights"), *own)]
