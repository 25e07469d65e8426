"""Learning to answer open-ended questions, by cross-entropy over the answers of a vocabulary.

Letters: B videos, Q questions, A answers, W ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from data_specs.errors import InputError
from data_specs.vocabulary import read_answers
from train.answering import AnsweringModel, is_answering
from train.batch import RegionBatch, TextBatch
from train.config import AnsweringConfig, TrainConfig
from train.forecast.cost import StepCost, TextSizes, answering_cost
from train.networks.tokenizer import CaptionTokenizer
from train.objective.gather import world_size
from train.reading.sources import Source
from train.start import make_model
from train.stream import Asked, Batch
from train.validation import Autocast, HeldOut

OUTSIDE = -1  # the label of an answer that the vocabulary does not hold
SILENCE = 100  # batches without a single question, over all ranks, since the run began
PATIENCE = 10  # batches without a single known answer; a few may be chance


@dataclass(frozen=True, eq=False)
class Questions:
    """Clips and what is asked of them, clip after clip. clip_Q: the row of each question's clip. label_Q: the place of
    its answer in the vocabulary, or ``OUTSIDE``. Both are int64 and stay on the CPU, where they are looked at.

    asked: how many questions there are. Where that is 0 one that says nothing stands in, outside the vocabulary: the
    encoders take no empty batch, and every rank has to go through them.
    """

    video: RegionBatch
    text: TextBatch
    clip_Q: Tensor
    label_Q: Tensor
    asked: int

    @property
    def known(self) -> int:
        """How many have an answer that the vocabulary holds."""
        return int((self.label_Q != OUTSIDE).sum())

    def to(self, device: torch.device | str) -> Questions:
        """Clips and texts on another device."""
        return Questions(self.video.to(device), self.text.to(device), self.clip_Q, self.label_Q, self.asked)

    def chunks(self, clips: int) -> Iterator[Questions]:
        """So many clips at a time, with their questions; clips of which none is asked are left out."""
        starts = [*range(0, len(self.video), clips), len(self.video)]
        asked = torch.searchsorted(self.clip_Q, torch.tensor(starts)).tolist()
        for (first, end), (one, last) in zip(pairwise(starts), pairwise(asked), strict=True):
            if one == last:
                continue
            text, clip_Q, label_Q = self.text[one:last].trimmed(), self.clip_Q[one:last] - first, self.label_Q[one:last]
            yield Questions(self.video[first:end], text, clip_Q, label_Q, min(self.asked, last - one))


@dataclass(frozen=True, eq=False)
class Answered:
    """What a step on the questions of all ranks came to: the mean loss of those whose answer is known, how many of them
    were answered rightly, how many they are, and how many are outside the vocabulary. Scalars."""

    total: Tensor
    right: Tensor
    known: Tensor
    outside: Tensor


class Answering:
    """See ``Task``. The loss is the mean over the questions of all ranks whose answer the vocabulary holds."""

    objective: Literal["answering"] = "answering"

    def __init__(self, config: TrainConfig, answering: AnsweringConfig) -> None:
        self.config = config
        answers = read_answers(answering.answers)
        self.fingerprint = hashlib.sha256("\n".join(answers).encode()).hexdigest()
        self.best = Accuracy.best
        self.base = make_model(config)
        self.model = AnsweringModel.create(self.base, answers, answering)
        self._take_over_head(answering)
        self._labels = {answer: label for label, answer in enumerate(answers)}
        self._text = TextSizes.of(self.base.text_encoder.backbone)
        self._met = self._silent = 0
        self._met_asked = self._met_known = False

    def prepare(self, batch: Batch) -> Questions:
        """Tokenizes the questions and looks up their answers."""
        return prepared(batch, self.base.tokenizer, self._labels)

    def learn(
        self,
        learner: nn.Module,
        questions: Questions,
        autocast: Autocast,
        scale: Callable[[Tensor], Tensor],
    ) -> Answered:
        """Learns from ``config.chunk_size`` clips at a time: the loss is a sum over questions, so its gradients are
        those of the whole batch. Ranks may differ in clips and questions, and in how many they know: even none."""
        device = questions.video.mask_BFR.device
        known = questions.known
        counts = _summed(torch.tensor([known, questions.asked - known], dtype=torch.float64).to(device))
        a_question = world_size() / counts[0].clamp(min=1)  # averaging over the ranks divides by them
        found = torch.zeros(2, dtype=torch.float64, device=device)
        chunks = list(questions.chunks(self.config.chunk_size or len(questions.video)))
        for chunk in chunks:
            is_last = chunk is chunks[-1]
            alone = learner.no_sync() if isinstance(learner, DistributedDataParallel) and not is_last else nullcontext()
            with alone:
                with autocast():
                    logits_QA = learner(chunk.video, chunk.text, chunk.clip_Q)
                label_Q = chunk.label_Q.to(device, non_blocking=True)
                loss = summed_loss(logits_QA, label_Q)
                scale(loss * a_question.float()).backward()
            found += torch.stack([loss.detach().double(), (logits_QA.argmax(1) == label_Q).sum().double()])
        found = _summed(found)
        return Answered((found[0] / counts[0].clamp(min=1)).float(), found[1], counts[0], counts[1])

    def describe(self, answered: Answered) -> dict[str, float]:
        """Loss and accuracy over the questions whose answers are known, how many these are, and the others.

        Raises:
            InputError: nothing was asked in the first ``SILENCE`` batches, or the vocabulary held none of the answers
                of the first ``PATIENCE`` batches in which something was.
        """
        numbers = torch.stack([answered.total.double(), answered.right, answered.known, answered.outside]).tolist()
        loss, right, known, outside = numbers
        self._look(int(known), int(outside))
        accuracy = right / known if known else 0.0
        return {"loss": loss, "accuracy": accuracy, "questions": int(known), "outside": int(outside)}

    def _look(self, known: int, outside: int) -> None:
        """Stops a run that has nothing to learn, rather than after hours."""
        if known + outside:
            self._met, self._met_asked, self._met_known = self._met + 1, True, self._met_known or known > 0
        else:
            self._silent += 1
        if not self._met_asked and self._silent >= SILENCE:
            folders = ", ".join(map(str, self.config.data.shards))
            raise InputError(
                f"{folders}: no open-ended question in the first {SILENCE} batches, so there is nothing to learn to"
                " answer; give others with data.shards, or take captions with data.questions=0"
            )
        if not self._met_known and self._met >= PATIENCE:
            assert self.config.answering is not None
            raise InputError(
                f"{self.config.answering.answers}: holds none of the answers of the first {PATIENCE} batches, so there"
                " is nothing to learn; give the vocabulary of these questions with --set answering.answers=FILE"
            )

    def cost(self, questions: Questions, ranks: int) -> StepCost:
        """Both encoders, and the head."""
        lengths = questions.text.attention_mask_CL.sum(1).tolist()
        return answering_cost(self.config, self._text, len(self._labels), lengths, len(questions.video), ranks)

    def validation(self, learnt_from: Sequence[Source]) -> Accuracy:
        """Accuracy on all questions of the held-out clips."""
        return Accuracy(self.config, learnt_from, self._labels)

    def _take_over_head(self, answering: AnsweringConfig) -> None:
        """The head of the model that the run starts from is kept, if it has one of the same answers and width."""
        if self.config.start is None or not is_answering(self.config.start.model):
            return
        before = AnsweringModel.from_pretrained(self.config.start.model)
        if (before.answers, before.hidden) == (self.model.answers, answering.hidden):
            self.model.head.load_state_dict(before.head.state_dict())


class Accuracy(HeldOut):
    """All open-ended questions of the clips that ``config.validation`` names, with centred frames."""

    best = "accuracy"

    def __init__(self, config: TrainConfig, learnt_from: Sequence[Source], labels: Mapping[str, int]) -> None:
        super().__init__(config, learnt_from)
        self._labels = labels

    @torch.inference_mode()
    def __call__(self, model: AnsweringModel, autocast: Autocast) -> dict[str, float]:
        """The share of all questions that is answered rightly, those outside the vocabulary among the wrong ones, and
        the mean loss of those inside."""
        was_training = model.training
        model.eval()
        loss = right = 0.0
        known = outside = 0
        for batch in self.batches():
            questions = prepared(batch, model.tokenizer, self._labels).to(model.device)
            with autocast():
                logits_QA = model(questions.video, questions.text, questions.clip_Q)
            label_Q = questions.label_Q.to(model.device)
            loss += summed_loss(logits_QA, label_Q).item()
            right += (logits_QA.argmax(1) == label_Q).sum().item()
            known, outside = known + questions.known, outside + questions.asked - questions.known
        model.train(was_training)
        share = right / (known + outside) if known + outside else 0.0
        return {"loss": loss / max(1, known), self.best: share, "questions": known, "outside": outside}


def prepared(batch: Batch, tokenizer: CaptionTokenizer, labels: Mapping[str, int]) -> Questions:
    """A batch's clips and questions as tensors, on the CPU."""
    asked = batch.questions or (Asked(0, "", ""),)
    found = [labels.get(one.answer, OUTSIDE) for one in batch.questions] or [OUTSIDE]
    return Questions(
        batch.video,
        tokenizer([one.question for one in asked]),
        torch.tensor([one.clip for one in asked], dtype=torch.int64),
        torch.tensor(found, dtype=torch.int64),
        len(batch.questions),
    )


def summed_loss(logits_QA: Tensor, label_Q: Tensor) -> Tensor:
    """Cross-entropy, summed over the questions whose answer is in the vocabulary."""
    return F.cross_entropy(logits_QA, label_Q, ignore_index=OUTSIDE, reduction="sum")


def _summed(numbers: Tensor) -> Tensor:
    """Over all ranks."""
    if world_size() > 1:
        distributed.all_reduce(numbers)
    return numbers
