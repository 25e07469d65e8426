"""Configuration of stage 2: model, data, loss, optimiser and the run, as frozen trees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from data_specs.configuration import Settings, read_yaml
from data_specs.errors import InputError, did_you_mean
from data_specs.location import AnyLocation

PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names that ``model.preset`` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


class ModelConfig(Settings):
    """Sizes of both encoders. ``preset`` fills in whatever is not given.

    feature_dim: V, width of a region's feature. box_dim: 7, or 6 for the released checkpoints; 0: no
    boxes, only to see what they are worth.
    frames, regions: the most frames a video (F) and regions a frame (R) that the model is made for.
    width, depth, heads, mlp_ratio: the video transformer. joint_dim: E, width of the shared space.
    text_encoder: ``minilm`` (inside the installation), a folder, or a Hugging Face hub name.
    max_words: word pieces kept of a sentence, [CLS] and [SEP] not counted.
    time_attention: a region also attends to the regions of its rank in the other frames (off as published).
    temporal_std: how random the temporal embeddings begin of frames that no training has seen. 0, as in Frozen in Time,
    is for models that start from a ViT; a small model from scratch does not find out what moves which way from there
    (1 does; docs/training.md).
    box_std: how large the weights of the boxes begin. A model from scratch that reads large features learns where
    things are, and so what moves, much sooner with more (docs/training.md).
    vit_weights: a timm ViT file (.safetensors, .pth or .bin) that the transformer starts from.
    """

    preset: str = "tiny"
    feature_dim: PositiveInt
    box_dim: Literal[0, 6, 7]
    frames: PositiveInt
    regions: PositiveInt
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt
    mlp_ratio: PositiveFloat
    joint_dim: PositiveInt
    text_encoder: str
    max_words: PositiveInt
    time_attention: bool = False
    temporal_std: NonNegativeFloat = 0.0
    box_std: PositiveFloat = 1.0
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

    temperature: what both similarities are divided by. learn_temperature: it only starts there.
    local_form: ``slides`` (the published formula) or ``release`` (the authors' code, for their checkpoints; it has a
    temperature and a sharpness of its own). focal: in the release form, only attention above its row's mean stays.
    sharpness: inverse temperature of a region's attention over the words (1 is the published formula; the released
    code uses 20).
    gather: the other clips of the whole batch are negatives on every rank; false: only those of the rank itself, as
    in the released code.
    """

    global_weight: float = Field(1.0, ge=0)
    local_weight: float = Field(1.0, ge=0)
    temperature: PositiveFloat = 0.05
    learn_temperature: bool = False
    local_form: Literal["slides", "release"] = "slides"
    focal: bool = True
    sharpness: PositiveFloat = 1.0
    gather: bool = True

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossConfig:
        if self.global_weight == 0 and self.local_weight == 0:
            raise ValueError("global_weight and local_weight are both 0: nothing would be learnt")
        if self.learn_temperature and self.global_weight == 0 and self.local_form == "release":
            raise ValueError(
                "learn_temperature: the release form has no temperature to learn and global_weight is 0; set"
                " learn_temperature=false"
            )
        return self


class OptimiserConfig(Settings):
    """AdamW. The rate rises over ``warmup_steps``, then follows ``schedule``.

    schedule: ``milestones``: ×0.1 at the start of each of ``milestones`` (epochs done); ``cosine``: half a cosine down
    to 0 at the run's last step.
    freeze_text: the text encoder stays as it is; only its projection learns.
    clip_norm: the largest norm of the whole gradient; null leaves it as it is.
    ema_decay: an average of the weights is kept, ``ema = decay * ema + (1 - decay) * weights`` after each step, and is
    what is validated and written to ``model/``; null keeps none.
    """

    lr: PositiveFloat = 2e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["milestones", "cosine"] = "milestones"
    milestones: tuple[PositiveInt, ...] = (30, 40)
    clip_norm: PositiveFloat | None = 1.0
    freeze_text: bool = False
    ema_decay: float | None = Field(None, gt=0, lt=1)


class DataConfig(Settings):
    """Which shards, and what is drawn from them.

    shards: folders (or URLs) made by ``python -m extract run``; of several, batches are taken in turn, one of each.
    splits: shard names begin with one of these. subset: this share of each folder's samples, chosen by ``seed``; a
    smaller share is part of a larger one.
    rounds: how often an epoch takes each clip, each time in another order, with other frames and another caption. A
    clip's captions are used evenly: with n of them, n rounds, over one epoch or several, use each once.
    epoch_samples: an epoch ends after so many samples at the latest, all its rounds together.
    captions: only the first so many captions of each clip; 0 takes all.
    questions: so many open-ended questions of each clip, all where it has fewer, are taken in place of a caption, as
    evenly as captions are; 0 takes captions.
    frames, regions: F frames of each clip and the first R regions of each. draw_frames: a random frame of each of F
    equal segments; false takes its middle.
    batch_size: clips a step, over all ranks together. shuffle_window: how far, in samples, the shuffle within a lane
    reaches. lanes: shards that are read side by side, over all ranks together, and mixed in every batch; fewer where
    that would leave a lane shorter than the window.
    neighbours: so many samples that stand side by side in a shard stay so in the order, and meet in a batch: hard
    negatives, where neighbours are alike. 1 mixes all.
    workers: processes a rank that read and decode; 0 does it in a thread of the trainer.
    verify_hashes: each shard's SHA-256 is compared with its commit record before anything is taken from it.
    max_corrupt: share of samples that may be unreadable before the run stops (one always may).
    """

    shards: tuple[AnyLocation, ...] = Field(min_length=1)
    splits: tuple[str, ...] = Field(("train",), min_length=1)
    subset: float = Field(1.0, gt=0, le=1)
    rounds: PositiveInt = 1
    epoch_samples: PositiveInt | None = None
    captions: int = Field(0, ge=0)
    questions: int = Field(0, ge=0)
    frames: PositiveInt = 1
    draw_frames: bool = True
    regions: PositiveInt = 30
    batch_size: int = Field(128, ge=2)
    shuffle_window: PositiveInt = 1024
    lanes: PositiveInt = 32
    neighbours: PositiveInt = 1
    workers: int = Field(0, ge=0)
    verify_hashes: bool = True
    seed: int = Field(0, ge=0)
    max_corrupt: float = Field(0.01, ge=0, le=1)


class ValidationConfig(Settings):
    """Retrieval among held-out clips while training, with centred frames and each clip's first caption; with
    ``answering``, all their open-ended questions.

    shards, splits: as in ``data``. every: steps between two validations; the last step always has one.
    samples: at most so many clips, the first of the shards. optional: go without where none of the shards is of these
    splits.
    """

    shards: tuple[AnyLocation, ...] = Field(min_length=1)
    splits: tuple[str, ...] = Field(("val",), min_length=1)
    every: PositiveInt = 1000
    samples: PositiveInt = 1000
    optional: bool = False


class StartConfig(Settings):
    """A finished model that training starts from, as in fine-tuning.

    model: a model/ folder (of a run, or from ``python -m train import-release``). temporal: what a larger number of
    frames adds to its temporal table: ``zeros`` or ``interpolate``; a smaller one takes its first rows.
    """

    model: Path
    temporal: Literal["zeros", "interpolate"] = "zeros"


class AnsweringConfig(Settings):
    """Open-ended questions are what is learnt, in place of pairs of clip and caption: which of the answers is right.

    answers: the vocabulary, in the order of labels: a manifest (.parquet) whose protocol has one, a .json object of
    answer to label, or a text file with one answer a line. hidden: width of the head's layers; the last but one has
    twice as many. dropout: of that one.
    """

    answers: Path
    hidden: PositiveInt = 1024
    dropout: float = Field(0.5, ge=0, lt=1)


class TrainConfig(Settings):
    """One training run, written resolved to ``config.yaml`` in the run folder ``out``.

    start: a model to start from, in place of the pretrained parts that ``model`` names.
    answering: questions are learnt to be answered (``data.questions`` of each clip); null: pairs are learnt to be
    matched, as ``loss`` says.
    epochs, max_steps: the run ends at whichever comes first. threads: of torch on the CPU; null leaves its choice.
    chunk_size: clips that a rank embeds at a time; the loss is still that of the whole batch, and its gradients are
    too (each chunk is embedded a second time for them, unless ``answering``). null: all at once.
    checkpoint_activations: blocks are computed again in the backward pass, which saves memory. compile: torch.compile.
    log_every, checkpoint_every: steps. checkpoint_minutes: a checkpoint at least so often. keep: checkpoints that stay.
    wandb: the project to log to beside metrics.jsonl and TensorBoard (pip install regionvlp[wandb]).
    """

    out: Path
    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    start: StartConfig | None = None
    data: DataConfig
    validation: ValidationConfig | None = None
    loss: LossConfig = LossConfig()
    answering: AnsweringConfig | None = None
    optimiser: OptimiserConfig = OptimiserConfig()
    epochs: PositiveInt = 50
    max_steps: PositiveInt | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    threads: PositiveInt | None = None
    seed: int = Field(0, ge=0)
    chunk_size: int | None = Field(None, ge=1)
    checkpoint_activations: bool = False
    compile: bool = False
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 1000
    checkpoint_minutes: PositiveFloat | None = 15.0
    keep: PositiveInt = 2
    wandb: str | None = None

    @model_validator(mode="after")
    def _check_sizes(self) -> TrainConfig:
        for name in ("frames", "regions"):
            drawn, most = getattr(self.data, name), getattr(self.model, name)
            if drawn > most:
                raise ValueError(
                    f"data.{name} is {drawn}, but model.{name} is {most}: raise the one or lower the other"
                )
        return self

    @model_validator(mode="after")
    def _check_answering(self) -> TrainConfig:
        if self.answering is not None and not self.data.questions:
            raise ValueError(
                "answering: data.questions is 0, so there is nothing to answer: set data.questions=1, or to how many"
                " questions of a clip are taken at a time, or leave answering out"
            )
        if self.answering is None and self.data.questions:
            raise ValueError(
                f"data.questions is {self.data.questions}, but nothing is said of the answers: set answering.answers="
                "FILE, or data.questions=0 to learn from captions"
            )
        return self
