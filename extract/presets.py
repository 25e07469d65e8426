"""Detector presets: which detectron2 model, which weights, which regions are kept. One YAML each in ``detectors/``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from data_specs import configuration
from data_specs.configuration import Settings
from data_specs.errors import InputError, did_you_mean
from data_specs.shards import file_sha256

PRESETS = Path(__file__).parent / "detectors"
WEIGHTS_VARIABLE = "REGIONVLP_WEIGHTS"


class DetectorSettings(Settings):
    """A detector. Everything here changes the features, and goes into the provenance of the shards.

    config: a file below detectron2's ``model_zoo/configs``. overrides: dotted detectron2 keys set after it.
    weights: a safetensors file beside the YAML, in the working folder's ``weights/`` or in $REGIONVLP_WEIGHTS.
    classes: class names without background, in the order of the model's outputs.
    nms: per-class suppression IoU of the selection. min_score: candidates at or below it are no regions.
    batch: frames in one forward pass at most; it bounds memory, and moves results by float rounding.
    """

    name: str
    about: str = ""
    config: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    weights: str
    sha256: str = ""
    weights_from: str = ""
    classes: tuple[str, ...] = ()
    feature_dim: int
    nms: float = Field(default=0.5, gt=0, le=1)
    min_score: float = Field(default=0.0, ge=0, lt=1)
    batch: int = Field(default=8, ge=1)


def preset_names() -> list[str]:
    """Names that ``load_preset`` knows."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(name: str) -> DetectorSettings:
    """The settings of ``read_preset(name)``."""
    return configuration.build(DetectorSettings, read_preset(name), f"detector {name}")


def read_preset(name: str) -> dict[str, Any]:
    """The keys of a preset by name, or of a YAML file when ``name`` ends in ``.yaml``; its weights may lie beside it.

    Raises:
        InputError: an unknown name; the nearest are said.
    """
    if not name.endswith((".yaml", ".yml")):
        if name not in preset_names():
            raise InputError(
                f"unknown detector {name!r}: {did_you_mean(name, preset_names())} (or give the path of a .yaml file)"
            )
        return configuration.read_yaml(PRESETS / f"{name}.yaml")
    tree = configuration.read_yaml(Path(name))
    beside = Path(name).absolute().parent / str(tree.get("weights", ""))
    return tree | {"weights": str(beside)} if beside.is_file() else tree


def find_weights(settings: DetectorSettings) -> Path:
    """The weights file, its hash checked where the preset states one.

    Raises:
        InputError: not found (where it was looked for and where it comes from), or of another hash.
    """
    places = [
        PRESETS,
        Path("weights"),
        *([Path(os.environ[WEIGHTS_VARIABLE])] if WEIGHTS_VARIABLE in os.environ else []),
    ]
    candidates = [Path(settings.weights)] if os.path.isabs(settings.weights) else [p / settings.weights for p in places]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(
            f"detector {settings.name!r}: weights {settings.weights!r} not found in"
            f" {', '.join(str(p.parent) for p in candidates)} (or ${WEIGHTS_VARIABLE}). {settings.weights_from}"
        )
    if settings.sha256 and file_sha256(found) != settings.sha256:
        raise InputError(f"{found}: SHA-256 is not the {settings.sha256} that detector {settings.name!r} states")
    return found
