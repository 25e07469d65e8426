"""Which tensor of a published checkpoint becomes which of ours, and which are not used and why.

Letters: F frames, R regions a frame, D width, E joint width, V feature width, K box width, P positions of the text
encoder. Names and sizes are those of the authors' released model (arXiv 2203.07720): the video side under
``object_model.`` in timm's ViT names, DistilBERT under ``text_model.``, the sentence's projection ``txt_proj.1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from transformers import AutoModel, DistilBertConfig

from data_specs.configuration import build
from data_specs.errors import InputError
from train.config import LossConfig, ModelConfig
from train.networks.text_encoder import TextEncoder
from train.networks.video_encoder import VideoEncoder

TEXT_ENCODER = "distilbert-base-uncased"
# The released code pads every sentence to 100 tokens, [CLS] and [SEP] among them.
MAX_WORDS = 98
HEAD_WIDTH = 64
# sharpness and temperature: the factor of both softmaxes and σ of the released code.
LOSS = LossConfig(local_form="release", sharpness=20.0, temperature=0.05)

CLS, SPATIAL = "object_model.cls_token", "object_model.custom_pos_embed"
_PREFIXES = (
    ("video_encoder.", "object_model."),
    ("text_encoder.backbone.", "text_model."),
    ("text_encoder.proj.", "txt_proj."),
)
# What the released model carries and its forward pass does not read.
_UNUSED = (
    (r"object_model\.blocks\.\d+\.norm3\.(weight|bias)", "norm of the time attention, off in all published models"),
    (r"object_model\.norm\.(weight|bias)", "the released model projects without a last norm"),
    (r"object_model\.(patch_embed|pre_logits|head)\..+", "the image transformer's own ends; regions replace pixels"),
    (r"object_model\.pos_embed", "the image transformer's places of patches; a region has its box"),
    (r"text_model\.embeddings\.position_ids", "the numbers 0, 1, 2, ...: a constant"),
)
_LISTED = 8

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ImportPlan:
    """What an import makes of a checkpoint's tensors.

    sources: of each tensor of ours the tensors of theirs that it is the sum of (of ``SPATIAL``: its first row).
    unused: of each of theirs that is not read, or not whole, the reason.
    """

    model: ModelConfig
    text: DistilBertConfig
    sources: dict[str, tuple[str, ...]]
    unused: dict[str, str]


def plan_import(shapes: Mapping[str, Shape], origin: str) -> ImportPlan:
    """Accounts for every tensor of a checkpoint; ``origin`` names it in messages.

    Raises:
        InputError: tensors are missing, have sizes that do not agree, or are not known.
    """
    config, text = _model_config(shapes, origin), _text_config(shapes, origin)
    unused = {name: reason for name in shapes if (reason := _reason(name)) is not None}
    unused[SPATIAL] = "no place within a frame beyond the box: only its first row is used, which is added to [CLS]"
    expected = _expected(config, text)
    sources = {ours: (_theirs(ours),) for ours in expected}
    read = {source for (source,) in sources.values()}
    problems = [
        _listing("missing", read - shapes.keys()),
        _listing("not known", shapes.keys() - read - unused.keys()),
        _listing(
            "of another size than the others say",
            (
                f"{theirs} {list(shapes[theirs])}, expected {list(shape)}"
                for ours, shape in expected.items()
                if (theirs := _theirs(ours)) in shapes and shapes[theirs] != shape
            ),
        ),
    ]
    if any(problems):
        raise InputError(f"{origin}: not in the released model's layout: {'; '.join(filter(None, problems))}")
    sources["video_encoder.cls_token"] = (CLS, SPATIAL)
    return ImportPlan(config, text, sources, unused)


def _theirs(ours: str) -> str:
    new, old = next((new, old) for new, old in _PREFIXES if ours.startswith(new))
    return old + ours.removeprefix(new)


def _reason(name: str) -> str | None:
    return next((reason for pattern, reason in _UNUSED if re.fullmatch(pattern, name)), None)


def _expected(config: ModelConfig, text: DistilBertConfig) -> dict[str, Shape]:
    """Names and shapes of the model's tensors; nothing of their size is allocated."""
    with torch.device("meta"):
        sides = {
            "video_encoder.": VideoEncoder(config),
            "text_encoder.": TextEncoder(AutoModel.from_config(text), config.joint_dim),
        }
    return {side + name: tuple(t.shape) for side, part in sides.items() for name, t in part.state_dict().items()}


def _model_config(shapes: Mapping[str, Shape], origin: str) -> ModelConfig:
    width, feature_dim = _sizes(shapes, "object_model.object_embedding.weight", 2, origin)
    _, box_dim = _sizes(shapes, "object_model.pos_embedding.weight", 2, origin)
    _, frames, _ = _sizes(shapes, "object_model.temporal_embed", 3, origin)
    one, places, across = _sizes(shapes, SPATIAL, 3, origin)
    hidden, _ = _sizes(shapes, "object_model.blocks.0.mlp.fc1.weight", 2, origin)
    joint_dim, _ = _sizes(shapes, "object_model.proj.weight", 2, origin)
    if width % HEAD_WIDTH or hidden % width:
        raise InputError(
            f"{origin}: width {width} with {hidden} hidden units: heads of the released model are {HEAD_WIDTH} wide and"
            " its hidden layer is a multiple of its width"
        )
    if (one, across) != (1, width) or places < 2:
        raise InputError(f"{origin}: {SPATIAL} is {[one, places, across]}, expected [1, regions + 1, {width}]")
    return build(
        ModelConfig,
        {
            "preset": "base", "feature_dim": feature_dim, "box_dim": box_dim, "frames": frames, "regions": places - 1,
            "width": width, "depth": _depth(shapes, r"object_model\.blocks\.(\d+)\..+"), "heads": width // HEAD_WIDTH,
            "mlp_ratio": hidden / width, "joint_dim": joint_dim, "text_encoder": TEXT_ENCODER, "max_words": MAX_WORDS,
        },
        origin,
    )  # fmt: skip


def _text_config(shapes: Mapping[str, Shape], origin: str) -> DistilBertConfig:
    """DistilBERT of the checkpoint's sizes; what sizes do not say is as in ``TEXT_ENCODER``, transformers' default."""
    words, width = _sizes(shapes, "text_model.embeddings.word_embeddings.weight", 2, origin)
    positions, _ = _sizes(shapes, "text_model.embeddings.position_embeddings.weight", 2, origin)
    hidden, _ = _sizes(shapes, "text_model.transformer.layer.0.ffn.lin1.weight", 2, origin)
    if width % HEAD_WIDTH or positions < MAX_WORDS + 2:
        raise InputError(
            f"{origin}: a text encoder {width} wide with {positions} positions; expected a multiple of {HEAD_WIDTH} and"
            f" at least {MAX_WORDS + 2}"
        )
    return DistilBertConfig(
        vocab_size=words, dim=width, hidden_dim=hidden, max_position_embeddings=positions,
        n_layers=_depth(shapes, r"text_model\.transformer\.layer\.(\d+)\..+"), n_heads=width // HEAD_WIDTH,
    )  # fmt: skip


def _depth(shapes: Mapping[str, Shape], pattern: str) -> int:
    """How many numbers there are, not the highest: a file of few tensors cannot ask for many layers."""
    return len({found[1] for name in shapes if (found := re.fullmatch(pattern, name))})


def _sizes(shapes: Mapping[str, Shape], name: str, dimensions: int, origin: str) -> Shape:
    shape = shapes.get(name)
    if shape is None:
        raise InputError(f"{origin}: not in the released model's layout: missing: {name}")
    if len(shape) != dimensions or 0 in shape:
        raise InputError(f"{origin}: {name} is {list(shape)}, expected {dimensions} dimensions and nothing empty")
    return shape


def _listing(what: str, names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{what}: {', '.join(names[:_LISTED])}{more}" if names else ""
