"""The two-sided model: videos and sentences into one space.

Letters: B videos, C sentences, N regions a video, L words a sentence, E joint width. Source: arXiv 2203.07720.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from data_specs import atomic
from data_specs.configuration import build
from data_specs.errors import InputError
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig, ModelConfig
from train.history import Learnt, write_history
from train.model_card import model_card
from train.networks.text_encoder import TextEncoder, load_backbone, new_backbone
from train.networks.tokenizer import CaptionTokenizer
from train.networks.video_encoder import VideoEncoder
from train.networks.vit_weights import load_vit

FORMAT_VERSION = 1
MODEL_TYPE = "regionvlp"
CONFIG_NAME, WEIGHTS_NAME, CARD_NAME = "config.json", "model.safetensors", "README.md"
# What transformers raises for a text_config that describes no encoder: its own validation errors among them.
_BROKEN_DESCRIPTION = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError)


@dataclass(frozen=True, eq=False)
class VideoEmbedding:
    """L2-normalised float32 ``cls_BE [B, E]`` and ``regions_BNE [B, N, E]``; ``mask_BN`` bool, true at real regions."""

    cls_BE: Tensor
    regions_BNE: Tensor
    mask_BN: Tensor


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """L2-normalised float32: ``cls_CE [C, E]``, ``words_CLE [C, L, E]`` and ``mask_CL`` bool, true at real words.

    Column l of the words is position l + 1 of the ``TextBatch``; [SEP] and padding are masked.
    """

    cls_CE: Tensor
    words_CLE: Tensor
    mask_CL: Tensor


@dataclass(frozen=True, eq=False)
class PairEmbedding:
    """What a loss is made from: B videos, their B sentences, and the temperature (float32 scalar; it has a gradient
    where it is learnt)."""

    video: VideoEmbedding
    text: TextEmbedding
    temperature: Tensor


class RegionTextModel(nn.Module):
    """Video encoder, text encoder and tokenizer.

    ``loss`` is the objective it was made for; its sharpness is part of how a video and a sentence are compared. With
    the release's form of it, whose means and norms run over the padding too, sentences are padded to ``max_words``,
    the vectors of masked regions and words are kept, not cleared, and [SEP] counts as a word.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone: PreTrainedModel,
        tokenizer: CaptionTokenizer,
        loss: LossConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.loss = loss or LossConfig()
        self.keeps_padding = self.loss.local_form == "release"
        self.tokenizer = tokenizer if not self.keeps_padding else tokenizer.padding_fully()
        self.video_encoder = VideoEncoder(config)
        self.text_encoder = TextEncoder(backbone, config.joint_dim)
        self.register_buffer("_special_ids", torch.tensor(tokenizer.special_ids), persistent=False)
        temperature = torch.tensor(math.log(self.loss.temperature))
        if self.loss.learn_temperature:
            self.log_temperature = nn.Parameter(temperature)
        else:
            self.register_buffer("log_temperature", temperature, persistent=False)

    @classmethod
    def create(cls, config: ModelConfig, loss: LossConfig | None = None) -> RegionTextModel:
        """A model to train: text encoder and, where given, transformer from pretrained weights, the rest random.

        Raises:
            InputError: pretrained weights cannot be had or do not fit.
        """
        backbone, tokenizer = load_backbone(config.text_encoder)
        words = CaptionTokenizer(tokenizer, config.max_words)
        words.check_length(getattr(backbone.config, "max_position_embeddings", None))
        model = cls(config, backbone, words, loss)
        if config.vit_weights is not None:
            load_vit(model.video_encoder, config.vit_weights)
        return model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.video_encoder.cls_token.device

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by: float32 scalar, with a gradient where it is learnt."""
        return self.log_temperature.float().exp()

    def forward(self, video: RegionBatch, text: TextBatch) -> PairEmbedding:
        """Both sides of a batch of matching pairs: what ranks that learn together call, so that gradients meet."""
        words = self.encode_text(text)  # first: copying its plan to a GPU waits for what is queued there
        return PairEmbedding(self.encode_video(video), words, self.temperature)

    def checkpoint_activations(self) -> None:
        """Both encoders compute their blocks again in the backward pass instead of keeping them: slower, and smaller.

        Raises:
            InputError: the text encoder cannot do that.
        """
        self.video_encoder.checkpoint_activations = True
        self.text_encoder.checkpoint_activations()

    def compile_encoders(self, **options: Any) -> None:
        """torch.compile of both transformers, in place, with its ``options``; names of parameters stay as they are.

        Sentences of any number and length take the same compiled program.
        """
        self.video_encoder.compile(**options)
        self.text_encoder.backbone.compile(dynamic=True, **options)

    def encode_video(self, batch: RegionBatch) -> VideoEmbedding:
        """Embeds B videos; masked regions are zero. For errors see ``VideoEncoder.forward``."""
        vectors_BSE = F.normalize(self.video_encoder(batch).float(), dim=-1)
        mask_BN = batch.mask_BFR.flatten(1)
        if self.keeps_padding:
            return VideoEmbedding(vectors_BSE[:, 0], vectors_BSE[:, 1:], mask_BN)
        return VideoEmbedding(vectors_BSE[:, 0], vectors_BSE[:, 1:] * mask_BN[..., None], mask_BN)

    def encode_text(self, batch: TextBatch) -> TextEmbedding:
        """Embeds C sentences; positions that are no words are zero. The release's form takes [SEP] for a word."""
        vectors = F.normalize(self.text_encoder(batch, trim=not self.keeps_padding).float(), dim=-1)
        if self.keeps_padding:
            return TextEmbedding(vectors[:, 0], vectors[:, 1:], batch.attention_mask_CL[:, 1:])
        is_word = batch.attention_mask_CL & ~torch.isin(batch.input_ids_CL, self._special_ids)
        mask_CL = is_word[:, 1:]
        return TextEmbedding(vectors[:, 0], vectors[:, 1:] * mask_CL[..., None], mask_CL)

    def save_pretrained(
        self,
        folder: Path,
        facts: Mapping[str, object] | None = None,
        history: Sequence[Learnt] = (),
        answers: int = 0,
    ) -> None:
        """Writes the tokenizer's files, a model card, ``model.safetensors``, and last ``config.json``.

        facts: what the card (``README.md``) tells of how the model came about, a name and a value a line. history: the
        runs that made it, for the card and ``history.json``; without them nothing is said. answers: how many it knows
        with the head that lies beside it, for the card.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(folder)
        card = model_card(self.config, self.loss, self._count_parameters(), facts or {}, history, answers)
        atomic.write_text(folder / CARD_NAME, card)
        if history:
            write_history(folder, history)
        atomic.write_bytes(folder / WEIGHTS_NAME, packed(self))
        described = {
            "model_type": MODEL_TYPE,
            "format_version": FORMAT_VERSION,
            "model": self.config.model_dump(mode="json"),
            "loss": self.loss.model_dump(mode="json"),
            "text_config": self.text_encoder.backbone.config.to_dict(),
        }
        atomic.write_text(folder / CONFIG_NAME, json.dumps(described, indent=1, sort_keys=True) + "\n")

    def _count_parameters(self) -> dict[str, int]:
        parts = {"video encoder": self.video_encoder, "text encoder": self.text_encoder}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}

    @classmethod
    def from_pretrained(cls, folder: Path, device: str | torch.device = "cpu") -> RegionTextModel:
        """Reads what ``save_pretrained`` wrote, ready to embed (``eval`` mode). Nothing is fetched.

        Raises:
            InputError: this is not a model folder; names the file and the way out.
        """
        folder = Path(folder)
        described = _read_description(folder)
        source = str(folder / CONFIG_NAME)
        config = build(ModelConfig, described["model"], source)
        loss = build(LossConfig, described["loss"], source)
        try:
            text_config = AutoConfig.for_model(**described["text_config"])
            tokenizer = AutoTokenizer.from_pretrained(str(folder), config=text_config, local_files_only=True)
            words = CaptionTokenizer(tokenizer, config.max_words)
            with torch.device("meta"):  # takes no memory: config.json is not to be trusted before the weights agree
                skeleton = cls(config, new_backbone(text_config), words, loss)
        except _BROKEN_DESCRIPTION as error:
            detail = " ".join(str(error).split())[:300]
            raise InputError(
                f"{folder}: config.json or the tokenizer's files are missing or broken: {detail}"
            ) from None
        check_shapes(skeleton, folder / WEIGHTS_NAME)
        model = cls(config, new_backbone(text_config), words, loss)
        model.load_state_dict(load_file(folder / WEIGHTS_NAME))
        return model.to(device).eval()


def saved_loss(folder: Path) -> LossConfig:
    """The objective of the model in ``folder``, without its weights. For errors see ``from_pretrained``."""
    return build(LossConfig, _read_description(folder)["loss"], str(folder / CONFIG_NAME))


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    way_out = "give the model/ folder of a finished run (python -m train run CONFIG.yaml writes it)"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file, so {folder} is not a model; {way_out}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; {way_out}") from None
    if not isinstance(described, dict) or described.get("model_type") != MODEL_TYPE:
        raise InputError(f"{path}: not a {MODEL_TYPE} model; {way_out}")
    if described.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {described.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        )
    missing = [name for name in ("model", "loss", "text_config") if not isinstance(described.get(name), dict)]
    if missing:
        raise InputError(f"{path}: key {missing[0]!r} is missing; {way_out}")
    return described


def packed(module: nn.Module) -> bytes:
    """The state dict of a module as a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return save(tensors, metadata={"format": "pt"})


def check_shapes(skeleton: nn.Module, path: Path, described_by: str = CONFIG_NAME) -> None:
    """Compares the header of weights with the module that ``described_by`` describes, before either takes memory.

    Raises:
        InputError: they are not its weights, or there are none.
    """
    try:
        with safe_open(path, "pt") as weights:
            found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the model folder is not whole, copy or write it again") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}; copy or write the model folder again") from None
    expected = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    differing = sorted(name for name in found | expected if found.get(name) != expected.get(name))
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: weights of another architecture than {described_by} says: {len(differing)} tensors differ, first"
            f" {name}: {found.get(name, 'absent')}, expected {expected.get(name, 'none')}"
        )
