"""Imports a checkpoint that the authors published as a model/ folder of ours.

Letters: D width, R regions a frame.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data_specs import atomic
from data_specs.errors import InputError
from train.importing.foreign_weights import read_state_dict
from train.importing.release_layout import LOSS, SPATIAL, TEXT_ENCODER, ImportPlan, plan_import
from train.model import RegionTextModel
from train.networks.text_encoder import PACKAGED, load_backbone, new_backbone
from train.networks.tokenizer import CaptionTokenizer
from train.start import TEMPORAL, fit_temporal

ACCOUNT_NAME = "import.json"
_RANKS_PREFIX = "module."  # what DistributedDataParallel puts in front of every name


@dataclass(frozen=True)
class Account:
    """What became of every tensor of a checkpoint.

    beside: what else the file held, which was not read. frames: for how many the model is made; where the checkpoint
    has another number, its temporal table was fitted as ``temporal`` says.
    """

    origin: Path
    sha256: str
    plan: ImportPlan
    beside: tuple[str, ...]
    frames: int
    temporal: str

    def lines(self) -> list[str]:
        """The account in words, a line a reason."""
        read = {theirs for sources in self.plan.sources.values() for theirs in sources}
        reasons = defaultdict(list)
        for name, reason in self.plan.unused.items():
            reasons[reason].append(name)
        config = self.plan.model
        return [
            f"{len(read)} tensors mapped to {len(self.plan.sources)}: {config.width} wide, {config.depth} blocks,"
            f" {config.heads} heads, {config.frames} frames, {config.regions} regions of {config.feature_dim} +"
            f" {config.box_dim} numbers, joint width {config.joint_dim}",
            *(f"{len(names)} unused ({_first(names)}): {reason}" for reason, names in reasons.items()),
            *([f"made for {self.frames} frames: {self._fitting}"] if self.frames != config.frames else []),
            *([f"beside the weights, not read: {', '.join(self.beside)}"] if self.beside else []),
            "left over: 0",
        ]

    @property
    def _fitting(self) -> str:
        cut = self.frames < self.plan.model.frames
        return "the first rows of the temporal table" if cut else f"the temporal table is filled by {self.temporal}"

    def as_json(self) -> str:
        """The account in full."""
        described = {
            "checkpoint": self.origin.name,
            "sha256": self.sha256,
            "mapped": {ours: list(theirs) for ours, theirs in self.plan.sources.items()},
            "unused": self.plan.unused,
            "not_read": list(self.beside),
            "left_over": [],
            "frames": {"checkpoint": self.plan.model.frames, "model": self.frames, "temporal": self.temporal},
        }
        return json.dumps(described, indent=1) + "\n"


def import_release(
    checkpoint: Path,
    out: Path,
    tokenizer: str = TEXT_ENCODER,
    *,
    inert: Collection[str] = (),
    frames: int | None = None,
    temporal: Literal["zeros", "interpolate"] = "zeros",
) -> Account:
    """Writes ``checkpoint`` (.pth of the authors, or a plain state dict or .safetensors in its names) as model ``out``.

    The model evaluates, and fine-tunes as a run's ``start.model``, with the loss in the release's form. Beside it lies
    ``import.json``, the account of every tensor. tokenizer: the folder or hub name that DistilBERT's word pieces come
    from, or ``minilm``, whose uncased vocabulary is the same and which the installation carries; the checkpoint has
    none. inert: see ``read_state_dict``. frames: the model's, where not the checkpoint's; its temporal table is cut or
    filled (``fit_temporal``).

    Raises:
        InputError: not such a checkpoint, no tokenizer, or ``out`` is taken.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; give --out a new folder")
    tensors, beside = read_state_dict(checkpoint, inert)
    tensors = _without_ranks(tensors, checkpoint)
    plan = plan_import({name: tuple(tensor.shape) for name, tensor in tensors.items()}, str(checkpoint))
    _check_values(tensors, plan, checkpoint)
    words = CaptionTokenizer(_load_tokenizer(tokenizer, plan.text.vocab_size), plan.model.max_words)
    config = plan.model.model_copy(update={"frames": frames or plan.model.frames})
    model = RegionTextModel(config, new_backbone(plan.text), words, LOSS)
    with torch.no_grad():
        weights = {ours: _sum(tensors, theirs) for ours, theirs in plan.sources.items()}
        weights[TEMPORAL] = fit_temporal(weights[TEMPORAL], config.frames, temporal)
        model.load_state_dict(weights)
    account = Account(checkpoint, _sha256(checkpoint), plan, tuple(beside), config.frames, temporal)
    atomic.write_text(out / ACCOUNT_NAME, account.as_json())
    model.save_pretrained(out, facts={"imported from": checkpoint.name, "its SHA-256": account.sha256})
    return account


def _first(names: list[str]) -> str:
    return names[0] + (" and so on" if len(names) > 1 else "")


def _without_ranks(tensors: Mapping[str, Tensor], origin: Path) -> dict[str, Tensor]:
    bare = {name.removeprefix(_RANKS_PREFIX): tensor for name, tensor in tensors.items()}
    if len(bare) != len(tensors):
        twice = next(name for name in tensors if _RANKS_PREFIX + name in tensors)
        raise InputError(f"{origin}: has both {twice} and {_RANKS_PREFIX}{twice}; one of them must go")
    return bare


def _check_values(tensors: Mapping[str, Tensor], plan: ImportPlan, origin: Path) -> None:
    """Refuses what would take more memory than the file has bytes (a tensor that repeats itself), or is no weight."""
    read = {name: tensors[name] for sources in plan.sources.values() for name in sources}
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in read.values())
    if claimed > origin.stat().st_size:
        raise InputError(f"{origin}: its tensors claim {claimed} bytes, the file has {origin.stat().st_size}")
    for name, tensor in read.items():
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise InputError(f"{origin}: {name} is {tensor.dtype}, {tensor.layout}; weights are dense real numbers")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{origin}: {name} holds values that are not finite; this model diverged")


def _sum(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """One tensor as it is; of [CLS] ``[1, 1, D]`` and the spatial table ``[1, R+1, D]`` one plus the other's row 0."""
    first, *others = (tensors[name][:, :1] if name == SPATIAL else tensors[name] for name in names)
    return sum((other.float() for other in others), start=first.float())


def _load_tokenizer(name: str, words: int) -> PreTrainedTokenizerBase:
    way_out = (
        "--tokenizer takes a folder with the files of distilbert-base-uncased (hf download distilbert-base-uncased"
        " --local-dir FOLDER --include '*token*' vocab.txt config.json), its hub name, or minilm, whose vocabulary is"
        " the same and needs no network"
    )
    try:
        found = load_backbone(name)[1] if name in PACKAGED else AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        detail = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"tokenizer {name!r} cannot be loaded: {detail.rstrip('.')}; {way_out}") from None
    if len(found) != words:
        raise InputError(
            f"tokenizer {name!r} has {len(found)} word pieces, the checkpoint's text encoder {words}; {way_out}"
        )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
