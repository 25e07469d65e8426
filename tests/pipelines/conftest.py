"""What the doctor's tests share: a copy of the ten videos, detectors without training, made-up shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_specs.manifest import Item
from data_specs.regions import BOX_CONVENTION, BOX_DIM, Regions
from data_specs.samples import Sample
from data_specs.shard_index import build_index
from data_specs.shards import Provenance, write_shard
from extract.presets import PRESETS
from tests.pipelines.pages import Page, examine


@pytest.fixture
def ten_copied(ten_videos: Path, tmp_path: Path) -> Path:
    """A copy of the ten videos that a test may damage."""
    return Path(shutil.copytree(ten_videos, tmp_path / "root"))


@pytest.fixture
def write_detector(tmp_path: Path) -> Callable[..., str]:
    """``write_detector(content, **changed)``: a YAML like that of ``shapes``, and weights beside it, if any."""

    def write(content: bytes | None = b"any bytes", **changed: object) -> str:
        tree = (
            yaml.safe_load((PRESETS / "shapes.yaml").read_text())
            | {"weights": "own.safetensors", "sha256": ""}
            | changed
        )
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(tree))
        if content is not None:
            (tmp_path / "own.safetensors").write_bytes(content)
        return str(path)

    return write


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Page]:
    """``doctor(name, "key=value", ...)``: what the doctor says of a pipeline."""
    return lambda name, *given, **options: examine(tmp_path / "doctor.json", name, *given, **options)


@pytest.fixture
def doctor_extract(doctor: Callable[..., Page], tmp_path: Path, write_detector: Callable[..., str]) -> Callable:
    """``doctor_extract(root, "key=value", ...)``: of the pipeline ``extract`` on MSR-VTT's layout."""

    def run(root: Path, *given: str, quick: bool = True) -> Page:
        fixed = [f"root={root}", "dataset=msrvtt", f"out={tmp_path}/shards", f"manifest={tmp_path}/made/m.parquet"]
        named = any(assignment.startswith("detector=") for assignment in given)
        detector = [] if named else [f"detector={write_detector()}"]
        return doctor("extract", *fixed, *detector, *given, quick=quick)

    return run


@pytest.fixture
def make_shard() -> Callable[..., Path]:
    """``make_shard(folder, items, frames, regions, width)``: one committed shard of empty regions, and its index."""

    def make(
        folder: Path, items: list[Item], frames: int = 2, regions: int = 3, width: int = 4, index: bool = True
    ) -> Path:
        provenance = Provenance(
            dataset="made-up", manifest_sha256="0", detector="none", weights_sha256="0", detector_settings={},
            box_convention=BOX_CONVENTION, sampling="uniform", frames=frames, regions=regions, feature_dim=width,
            ffmpeg="none",
        )  # fmt: skip
        shape = (frames, regions)
        samples = [
            Sample(
                id=item.id,
                split=item.split,
                media=item.media,
                captions=item.captions,
                questions=item.questions,
                timestamps=tuple(frame + 0.5 for frame in range(frames)),
                frame_size=(144, 192),
                regions=Regions(
                    features=np.zeros((*shape, width), np.float16),
                    boxes=np.zeros((*shape, BOX_DIM), np.float32),
                    scores=np.zeros(shape, np.float32),
                    labels=np.full(shape, -1, np.int32),
                    count=np.zeros(frames, np.int32),
                ),
            )
            for item in items
        ]
        record = write_shard(folder, f"{items[0].split}-00000", samples, "plan", provenance)
        if index:
            build_index(folder, [record])
        return folder

    return make
