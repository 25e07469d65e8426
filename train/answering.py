"""The model that answers open-ended questions about videos: both encoders, and a head that knows so many answers.

Letters: B videos, N regions a video, Q questions, E joint width, A answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import LongTensor, Tensor, nn

from data_specs import atomic
from data_specs.configuration import Settings, build
from data_specs.errors import InputError
from train.batch import RegionBatch, TextBatch
from train.config import AnsweringConfig, ModelConfig
from train.history import Learnt
from train.model import CONFIG_NAME, RegionTextModel, check_shapes, packed
from train.networks.answer_head import AnswerHead
from train.networks.tokenizer import CaptionTokenizer

FORMAT_VERSION = 1
ANSWERS_NAME, HEAD_NAME = "answers.json", "answers.safetensors"
_TUNE = (
    "tune one with `answering` in the configuration of: python -m train run CONFIG.yaml (as make finetune-msrvtt-qa"
    " does)"
)


class AnswersFile(Settings):
    """``answers.json``: the sizes of the head, and the answers in the order of its logits."""

    format_version: int
    hidden: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    answers: tuple[str, ...] = Field(min_length=1)


class AnsweringModel(nn.Module):
    """``base`` with a head: of the regions' and a question's vectors in the joint space, before they are normalised."""

    def __init__(self, base: RegionTextModel, answers: Sequence[str], hidden: int, dropout: float) -> None:
        super().__init__()
        self.base = base
        self.answers = tuple(answers)
        self.hidden, self.dropout = hidden, dropout
        self.head = AnswerHead(base.config.joint_dim, hidden, len(self.answers), dropout)

    @classmethod
    def create(cls, base: RegionTextModel, answers: Sequence[str], config: AnsweringConfig) -> AnsweringModel:
        """``base`` with a new head. A temperature that it would learn stays as it is: nothing here depends on it."""
        base.log_temperature.requires_grad_(False)
        return cls(base, answers, config.hidden, config.dropout)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.base.device

    @property
    def config(self) -> ModelConfig:
        """Of the encoders."""
        return self.base.config

    @property
    def tokenizer(self) -> CaptionTokenizer:
        """What questions are made a ``TextBatch`` with."""
        return self.base.tokenizer

    def forward(self, video: RegionBatch, text: TextBatch, clip_Q: LongTensor) -> Tensor:
        """Logits [Q, A], float32, of Q questions, each about the video in row ``clip_Q`` of the batch."""
        questions_QE = self._encode_questions(text)  # first: copying its plan to a GPU waits for what is queued there
        return self.head(*self.encode_video(video), questions_QE, clip_Q)

    def encode_video(self, batch: RegionBatch) -> tuple[Tensor, Tensor]:
        """Regions of B videos: float32 vectors [B, N, E], not normalised, and their mask [B, N], true at real ones."""
        return self.base.video_encoder(batch)[:, 1:].float(), batch.mask_BFR.flatten(1)

    def answer(self, regions_BNE: Tensor, mask_BN: Tensor, text: TextBatch, clip_Q: LongTensor) -> Tensor:
        """Logits [Q, A], float32, in the order of ``answers``; ``clip_Q`` is each question's row of ``regions_BNE``."""
        return self.head(regions_BNE, mask_BN, self._encode_questions(text), clip_Q)

    def _encode_questions(self, text: TextBatch) -> Tensor:
        return self.base.text_encoder(text)[:, 0].float()

    def save_pretrained(
        self, folder: Path, facts: Mapping[str, object] | None = None, history: Sequence[Learnt] = ()
    ) -> None:
        """Writes the head into ``answers.safetensors`` and ``answers.json``, then the folder of ``base``, which stays
        one that ``RegionTextModel.from_pretrained`` reads. facts, history: see there."""
        folder = Path(folder)
        described = AnswersFile(
            format_version=FORMAT_VERSION, hidden=self.hidden, dropout=self.dropout, answers=self.answers
        )
        atomic.write_bytes(folder / HEAD_NAME, packed(self.head))
        atomic.write_text(folder / ANSWERS_NAME, described.model_dump_json(indent=1) + "\n")
        self.base.save_pretrained(folder, facts, history, len(self.answers))

    @classmethod
    def from_pretrained(cls, folder: Path, device: str | torch.device = "cpu") -> AnsweringModel:
        """Reads what ``save_pretrained`` wrote, ready to answer (``eval`` mode). Nothing is fetched.

        Raises:
            InputError: this is no model folder, or one without answers; names the file and the way out.
        """
        folder = Path(folder)
        described = read_answers_file(folder)
        base = RegionTextModel.from_pretrained(folder)
        sizes = (base.config.joint_dim, described.hidden, len(described.answers), described.dropout)
        with torch.device("meta"):  # takes no memory: answers.json is not to be trusted before the weights agree
            skeleton = AnswerHead(*sizes)
        check_shapes(skeleton, folder / HEAD_NAME, ANSWERS_NAME)
        model = cls(base, described.answers, described.hidden, described.dropout)
        model.head.load_state_dict(load_file(folder / HEAD_NAME))
        return model.to(device).eval()


def is_answering(folder: Path) -> bool:
    """Whether the model in ``folder`` has a head that answers questions."""
    return (Path(folder) / ANSWERS_NAME).is_file()


def read_answers_file(folder: Path) -> AnswersFile:
    """What ``answers.json`` of a model folder says.

    Raises:
        InputError: there is none, or it is broken.
    """
    path = Path(folder) / ANSWERS_NAME
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not (path.parent / CONFIG_NAME).is_file():
            raise InputError(f"{folder}: no model folder: {CONFIG_NAME} is missing; {_TUNE}") from None
        raise InputError(f"{folder}: this model answers no questions ({ANSWERS_NAME} is missing); {_TUNE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {str(error)[:200]}; copy or write the model folder again") from None
    if not isinstance(tree, dict) or tree.get("format_version") != FORMAT_VERSION:
        found = tree.get("format_version") if isinstance(tree, dict) else None
        raise InputError(f"{path}: format version {found!r}, this program reads {FORMAT_VERSION}")
    described = build(AnswersFile, tree, str(path))
    if len(set(described.answers)) < len(described.answers):
        raise InputError(f"{path}: an answer is there twice; copy or write the model folder again")
    return described
