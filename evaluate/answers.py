"""What a model answers to the questions about some videos, each video embedded once.

Letters: B videos, N regions a video, E joint width, Q questions, A answers of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluate.accuracy import Picks, pick
from evaluate.embed import batches
from evaluate.questions import QuestionPlan
from evaluate.stored import StoredShards
from train.batch import collate_regions

if TYPE_CHECKING:
    from train.answering import AnsweringModel

_QUESTIONS_AT_ONCE = 128  # each attends over the regions of its video, so memory grows with both


@dataclass(frozen=True, eq=False)
class Given:
    """The answers to Q questions. picks: rows of the vocabulary.

    probability_Q: float32 [Q], of the picked answer. right_probability_Q: float32 [Q], of the question's own, NaN where
    the vocabulary does not hold it.
    """

    picks: Picks
    probability_Q: NDArray[np.float32]
    right_probability_Q: NDArray[np.float32]


@torch.inference_mode()
def answer_questions(
    model: AnsweringModel,
    shards: StoredShards,
    plan: QuestionPlan,
    *,
    frames: int,
    regions: int,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda done: None,
) -> Given:
    """Answers all questions of the plan, in its order.

    Raises:
        InputError: a shard breaks the contract.
        ValueError: a logit is not a number (a model that diverged).
    """
    label_of = {answer: label for label, answer in enumerate(model.answers)}
    label_Q = np.array([label_of.get(q.answer, -1) for q in plan.questions])
    row_of = {identifier: row for row, identifier in enumerate(plan.ids)}
    first_Q, tied_Q = np.zeros(len(label_Q), np.int64), np.ones(len(label_Q), np.int64)
    right_Q = np.zeros(len(label_Q), bool)
    probability_Q, right_probability_Q = (np.full(len(label_Q), np.nan, np.float32) for _ in range(2))
    for samples in batches(shards.samples(frozenset(row_of)), batch_size):
        batch = collate_regions([s.regions for s in samples], frames, regions, model.config.box_dim, None)
        regions_BNE, mask_BN = model.encode_video(batch.to(model.device))
        owners = [row_of[sample.id] for sample in samples]
        for rows_q, logits_qA in _logits(model, plan, owners, regions_BNE, mask_BN):
            picks = pick(logits_qA.numpy(), label_Q[rows_q])
            first_Q[rows_q], tied_Q[rows_q], right_Q[rows_q] = picks.first_Q, picks.tied_Q, picks.right_Q
            chances_qA = torch.softmax(logits_qA.double(), -1).numpy()
            of_q = np.arange(len(rows_q))
            probability_Q[rows_q] = chances_qA[of_q, picks.first_Q]
            right_probability_Q[rows_q] = np.where(label_Q[rows_q] < 0, np.nan, chances_qA[of_q, label_Q[rows_q]])
            progress(len(rows_q))
    return Given(Picks(first_Q, tied_Q, right_Q), probability_Q, right_probability_Q)


def _logits(
    model: AnsweringModel, plan: QuestionPlan, owners: Sequence[int], regions_BNE: Tensor, mask_BN: Tensor
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Questions about the videos ``owners`` and their logits [q, A], float32 on the CPU. Questions of similar length
    stand together, so that padding costs little."""
    asked = [
        (len(plan.questions[q].question), q, clip)
        for clip, owner in enumerate(owners)
        for q in range(*np.searchsorted(plan.owner_Q, [owner, owner + 1]))
    ]
    for block in batches(sorted(asked), _QUESTIONS_AT_ONCE):
        _, rows, clips = zip(*block, strict=True)
        text = model.tokenizer([plan.questions[q].question for q in rows]).to(model.device)
        clip_q = torch.tensor(clips, device=model.device)
        yield np.array(rows), model.answer(regions_BNE, mask_BN, text, clip_q).float().cpu()
