"""The model that a run begins with: of pretrained parts, or a finished one, for fine-tuning or more of the same.

Letters: F frames, D width.

A run's ``start: {model: FOLDER}`` takes the whole model from the folder: weights of both sides, text encoder and
tokenizer. Fine-tuning on 8 frames what was pre-trained on 1:

    start: {model: runs/pretrain/model, temporal: zeros}
    model: {preset: base, frames: 8}
    data: {shards: [shards/msrvtt], frames: 8, batch_size: 32}

``model`` must describe the folder's architecture; of it only frames, regions, max_words, temporal_std and box_std may
differ. A model that ``python -m train import-release`` wrote has ``box_dim: 6``, and keeps the release's form of the
loss with its sharpness unless ``loss`` says otherwise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, PretrainedConfig

from data_specs.errors import InputError
from train.config import LossConfig, ModelConfig, StartConfig, TrainConfig
from train.model import RegionTextModel, saved_loss
from train.networks.text_encoder import PACKAGED, load_backbone
from train.networks.tokenizer import CaptionTokenizer

TEMPORAL = "video_encoder.temporal_embed"
_ARCHITECTURE = (
    "width", "depth", "heads", "mlp_ratio", "feature_dim", "box_dim", "joint_dim", "time_attention",
)  # fmt: skip
_FREE = ("frames", "regions", "max_words", "temporal_std", "box_std")
_TEXT_SIZES = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_RELEASE_FORM = ("local_form", "focal", "sharpness")


def make_model(config: TrainConfig) -> RegionTextModel:
    """The model that a run begins with, on the CPU, in ``train`` mode and set up as ``config`` says.

    Raises:
        InputError: what it starts from cannot be had or does not fit.
    """
    if config.start is not None:
        model = start_from(config.start, config.model, config.loss)
    else:
        model = RegionTextModel.create(config.model, config.loss)
    tell_frames_apart(model, config.data.frames)
    model.train()
    if config.checkpoint_activations:
        model.checkpoint_activations()
    if config.optimiser.freeze_text:
        model.text_encoder.freeze()
    if config.compile:
        model.compile_encoders()
    return model


def start_from(start: StartConfig, config: ModelConfig, loss: LossConfig) -> RegionTextModel:
    """The model in the folder ``start.model``, in ``train`` mode, made for ``config``'s frames, regions and words.

    Its temporal table is fitted as ``start.temporal`` says (``fit_temporal``), its loss is ``starting_loss``: take it
    from the model (``model.loss``). A learnt temperature goes on from where it was if ``loss`` learns it too.

    Raises:
        InputError: no model there, or one of another architecture than ``config`` (names each key to set), or
            ``max_words`` are more than its text encoder reads.
    """
    found = RegionTextModel.from_pretrained(start.model)
    _check(found, config, start.model)
    fitted = found.config.model_copy(update={name: getattr(config, name) for name in _FREE})
    backbone = found.text_encoder.backbone
    words = CaptionTokenizer(found.tokenizer.tokenizer, fitted.max_words)
    words.check_length(getattr(backbone.config, "max_position_embeddings", None))
    model = RegionTextModel(fitted, backbone, words, _merged(found.loss, loss))
    tensors = found.state_dict()
    tensors[TEMPORAL] = fit_temporal(tensors[TEMPORAL], fitted.frames, start.temporal)
    own = model.state_dict()
    model.load_state_dict({name: tensors.get(name, own[name]) for name in own})
    return model.train()


def starting_loss(start: StartConfig, loss: LossConfig) -> LossConfig:
    """``loss`` as it holds for a run from ``start``: a release-form model keeps form, focal and sharpness unless said.

    "Said" is whatever was given when ``loss`` was made, defaults included if they were spelt out; so a resolved
    configuration, written with every key, stays as it is.

    Raises:
        InputError: there is no model.
    """
    return _merged(saved_loss(start.model), loss)


def fit_temporal(table_1FD: Tensor, frames: int, how: str) -> Tensor:
    """The temporal table ``[1, F, D]`` for another number of frames.

    Fewer: the first rows. More: ``zeros`` behind them, or ``interpolate``: linear along the frames, first and last row
    kept (row j is at ``j (F - 1) / (frames - 1)`` of the old ones).
    """
    _, given, _ = table_1FD.shape
    if frames <= given:
        return table_1FD[:, :frames].clone()
    if how == "zeros":
        return F.pad(table_1FD, (0, 0, 0, frames - given))
    along_1DF = F.interpolate(table_1FD.transpose(1, 2), size=frames, mode="linear", align_corners=True)
    return along_1DF.transpose(1, 2).contiguous()


def tell_frames_apart(model: RegionTextModel, frames: int) -> None:
    """Draws the rows of the first ``frames`` of the temporal table that are still zero, with ``model.temporal_std``.

    A single frame has nothing to be told apart from.
    """
    std, table_FD = model.config.temporal_std, model.video_encoder.temporal_embed[0]
    if std and frames > 1:
        with torch.no_grad():
            for row_D in table_FD[:frames]:
                if not row_D.any():
                    row_D.normal_(std=std)


def _merged(found: LossConfig, asked: LossConfig) -> LossConfig:
    form = asked.local_form if "local_form" in asked.model_fields_set else found.local_form
    if found.local_form != "release" or form != "release":
        return asked
    kept = {name: getattr(found, name) for name in _RELEASE_FORM if name not in asked.model_fields_set}
    return asked.model_copy(update=kept)


def _check(found: RegionTextModel, config: ModelConfig, folder: Path) -> None:
    wrong = [
        f"{name} {getattr(config, name)} (set model.{name}={getattr(found.config, name)})"
        for name in _ARCHITECTURE
        if getattr(config, name) != getattr(found.config, name)
    ]
    if config.text_encoder != found.config.text_encoder:
        text = _text_config(config.text_encoder)
        if text is None or _sizes(text) != _sizes(found.text_encoder.backbone.config):
            why = "which cannot be read to compare it" if text is None else "of other sizes"
            wrong.append(
                f"text_encoder {config.text_encoder}, {why} (set model.text_encoder={found.config.text_encoder})"
            )
    if wrong:
        raise InputError(f"{folder}: start.model is of another architecture than model: {'; '.join(wrong)}")


def _text_config(name: str) -> PretrainedConfig | None:
    """The description of that text encoder, if it is at hand."""
    if name in PACKAGED:
        return load_backbone(name)[0].config
    try:
        return AutoConfig.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return None


def _sizes(config: PretrainedConfig) -> list[object]:
    return [getattr(config, name, None) for name in _TEXT_SIZES]
