"""Configuration of stage 2: model, data, loss, optimiser and the run, as frozen trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from data_specs.configuration import Settings, read_yaml
from data_specs.errors import InputError, did_you_mean

PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names that ``model.preset`` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


class ModelConfig(Settings):
    """Sizes of both encoders. ``preset`` fills in whatever is not given.

    feature_dim: V, width of a region's feature. box_dim: 7, or 6 for the released checkpoints.
    frames, regions: the most frames a video (F) and regions a frame (R) that the model is made for.
    width, depth, heads, mlp_ratio: the video transformer. joint_dim: E, width of the shared space.
    text_encoder: ``minilm`` (inside the installation), a folder, or a Hugging Face hub name.
    max_words: word pieces kept of a sentence, [CLS] and [SEP] not counted.
    vit_weights: a timm ViT file (.safetensors, .pth or .bin) that the transformer starts from.
    """

    preset: str = "tiny"
    feature_dim: PositiveInt
    box_dim: Literal[6, 7]
    frames: PositiveInt
    regions: PositiveInt
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt
    mlp_ratio: PositiveFloat
    joint_dim: PositiveInt
    text_encoder: str
    max_words: PositiveInt
    vit_weights: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "tiny")
        if name not in preset_names():
            raise InputError(f"model.preset: {name!r} is not a preset: {did_you_mean(str(name), preset_names())}")
        return read_yaml(PRESETS / f"{name}.yaml") | given

    @model_validator(mode="after")
    def _check_heads(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LossConfig(Settings):
    """The objective. A weight of 0 switches its part off.

    temperature: what both similarities are divided by. sharpness: inverse temperature of a region's attention over
    the words (1 is the published formula; the released code uses 20).
    """

    global_weight: float = Field(1.0, ge=0)
    local_weight: float = Field(1.0, ge=0)
    temperature: PositiveFloat = 0.05
    sharpness: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossConfig:
        if self.global_weight == 0 and self.local_weight == 0:
            raise ValueError("global_weight and local_weight are both 0: nothing would be learnt")
        return self


class OptimiserConfig(Settings):
    """AdamW. The rate rises over ``warmup_steps`` and is multiplied by 0.1 at each of ``milestones`` (epochs).

    freeze_text: the text encoder stays as it is; only its projection learns.
    clip_norm: the largest norm of the whole gradient; null leaves it as it is.
    """

    lr: PositiveFloat = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(0, ge=0)
    milestones: tuple[PositiveInt, ...] = (30, 40)
    clip_norm: PositiveFloat | None = 1.0
    freeze_text: bool = False


class DataConfig(Settings):
    """Which shards, and what is drawn from them.

    shards: folders made by ``python -m extract run``. splits: shard names begin with one of these.
    frames, regions: F frames drawn of each clip and the first R regions of each.
    shuffle_window: samples held in memory at a time to mix them (8 frames of 30 regions take 1 MB).
    max_corrupt: share of samples that may be unreadable before the run stops (one always may).
    """

    shards: tuple[Path, ...] = Field(min_length=1)
    splits: tuple[str, ...] = Field(("train",), min_length=1)
    frames: PositiveInt = 1
    regions: PositiveInt = 30
    batch_size: int = Field(128, ge=2)
    shuffle_window: PositiveInt = 256
    seed: int = Field(0, ge=0)
    max_corrupt: float = Field(0.01, ge=0, le=1)


class TrainConfig(Settings):
    """One training run, written resolved to ``config.yaml`` in the run folder ``out``.

    epochs, max_steps: the run ends at whichever comes first. threads: of torch on the CPU; null leaves its choice.
    log_every, checkpoint_every: steps. keep: checkpoints that stay.
    """

    out: Path
    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    data: DataConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    epochs: PositiveInt = 50
    max_steps: PositiveInt | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    threads: PositiveInt | None = None
    seed: int = Field(0, ge=0)
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 1000
    keep: PositiveInt = 2

    @model_validator(mode="after")
    def _check_sizes(self) -> TrainConfig:
        for name in ("frames", "regions"):
            drawn, most = getattr(self.data, name), getattr(self.model, name)
            if drawn > most:
                raise ValueError(
                    f"data.{name} is {drawn}, but model.{name} is {most}: raise the one or lower the other"
                )
        return self
