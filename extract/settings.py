"""Everything one extraction depends on, and the provenance that it leaves in every shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from data_specs.configuration import Settings, build, override
from data_specs.location import AnyLocation
from data_specs.manifest import Manifest
from data_specs.media import Limits, tool_version
from data_specs.regions import BOX_CONVENTION
from data_specs.shards import Provenance, file_sha256
from extract.presets import DetectorSettings, find_weights, read_preset
from extract.sampling import SEGMENT_MIDDLES, Sampling

_CALLS_AN_ITEM = 4  # a probe, a decode, one more from the file's start, and one that was killed and run again
_NOT_IN_PROVENANCE = ("about", "weights", "sha256", "weights_from", "classes")


class MediaLimits(Settings):
    """Bounds of one ffmpeg call on one media file; see ``data_specs.media.Limits``."""

    wall_s: float = Field(default=60.0, gt=0)
    cpu_s: int = Field(default=120, ge=1)
    memory_bytes: int = Field(default=4 << 30, ge=1 << 26)
    output_bytes: int = Field(default=1 << 30, ge=1 << 16)
    pixels: int = Field(default=64 << 20, ge=1)

    def limits(self) -> Limits:
        return Limits(**self.model_dump())


class ExtractionSettings(Settings):
    """One extraction.

    out: a folder or a URL. frames: a clip. sampling, seed: which of them, see ``extract.sampling``. regions: kept a
    frame. threads: of torch, a worker; float sums depend on it. decoders: ffmpeg processes a worker at a time; a GPU
    that waits for frames wants more. decode_ahead: clips decoded and not yet seen by the detector; it bounds memory.
    gpus_per_worker: a share of a GPU, or several. attempts: times a shard's worker may die before the run is given up.
    item_s: seconds an item may take in all when it is done alone, after its worker died. hung_s: seconds without any
    item finished after which a worker is taken for hung and replaced. Where limits.wall_s is long, both are longer.
    """

    root: Path
    out: AnyLocation
    detector: DetectorSettings
    frames: int = Field(default=8, ge=1, le=4096)
    sampling: Literal["segment-middles", "segment-random"] = SEGMENT_MIDDLES
    seed: int = 0
    regions: int = Field(default=30, ge=1, le=1024)
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
    decoders: int = Field(default=1, ge=1, le=64)
    decode_ahead: int = Field(default=2, ge=1, le=1024)
    gpus_per_worker: float = Field(default=1.0, ge=0.001)
    attempts: int = Field(default=10, ge=1)
    item_s: float = Field(default=300.0, gt=0)
    hung_s: float = Field(default=900.0, gt=0)
    limits: MediaLimits = Field(default_factory=MediaLimits)

    @property
    def sampler(self) -> Sampling:
        return Sampling(self.frames, self.sampling, self.seed)

    @field_validator("gpus_per_worker")
    @classmethod
    def _shares_or_whole_ones(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("a worker has a share of one GPU, up to 1, or several whole ones")
        return round(gpus, 3)

    @property
    def patience_s(self) -> float:
        """Seconds for one item by itself: no less than its calls of ffmpeg may take together."""
        return max(self.item_s, _CALLS_AN_ITEM * self.limits.wall_s)

    @property
    def silence_s(self) -> float:
        """Seconds without an item finished after which a worker is taken for hung."""
        return max(self.hung_s, 1.5 * self.patience_s)


def make_settings(detector: str, assignments: tuple[str, ...], **options: object) -> ExtractionSettings:
    """Settings from a detector's name and ``--set`` assignments; ``detector.key=value`` reaches into the preset.

    Raises:
        InputError: an unknown detector or key.
    """
    tree = {"detector": read_preset(detector), **options}
    return build(ExtractionSettings, override(tree, assignments), f"detector {detector}")


def provenance(settings: ExtractionSettings, manifest: Manifest, manifest_path: Path) -> Provenance:
    """What the features of this extraction depend on.

    Raises:
        InputError: the detector's weights are absent.
    """
    kept: dict[str, Any] = settings.detector.model_dump(mode="json", exclude=set(_NOT_IN_PROVENANCE))
    kept |= {"device": settings.device.split(":")[0], "threads": settings.threads}
    return Provenance(
        dataset=f"{manifest.info.dataset}/{manifest.info.protocol}".rstrip("/"),
        manifest_sha256=file_sha256(manifest_path),
        detector=settings.detector.name,
        weights_sha256=file_sha256(find_weights(settings.detector)),
        detector_settings=kept,
        box_convention=BOX_CONVENTION,
        sampling=settings.sampler.describe(),
        frames=settings.frames,
        regions=settings.regions,
        feature_dim=settings.detector.feature_dim,
        ffmpeg=tool_version("ffmpeg"),
    )
