"""What a model answers to the questions about some videos, each video embedded once.

Letters: B videos, N regions a video, E joint width, Q questions, q those of a block, A answers of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs.errors import InputError
from evaluate.accuracy import Picks, pick
from evaluate.embedding.blocks import clips_a_block, cut, share
from evaluate.embedding.store import Progress
from evaluate.questions import QuestionPlan
from evaluate.stored import StoredShards
from train.answering import AnsweringModel
from train.batch import RegionBatch, collate_regions
from train.distributed import Ranks
from train.stream import ahead

QUESTIONS_AT_ONCE = 128  # each attends over the regions of its video, so memory grows with both
_COLUMNS = 6  # question, picked answer, how many share the top, whether the right one does, both probabilities


@dataclass(frozen=True, eq=False)
class Given:
    """The answers to Q questions. picks: rows of the vocabulary.

    probability_Q: float32 [Q], of the picked answer. right_probability_Q: float32 [Q], of the question's own, NaN where
    the vocabulary does not hold it.
    """

    picks: Picks
    probability_Q: NDArray[np.float32]
    right_probability_Q: NDArray[np.float32]


def answer_questions(
    model: AnsweringModel,
    shards: StoredShards,
    plan: QuestionPlan,
    *,
    frames: int,
    regions: int,
    ranks: Ranks,
    batch_size: int | None = None,
    progress: Progress = lambda done, of: None,
) -> Given | None:
    """Answers all questions of the plan, in its order. All ranks call it alike, each answers some, and the first one
    gets all; the others None. Videos and questions are cut into blocks before ranks share them, so the answers do not
    depend on how many there are. ``batch_size`` videos go through the model at once (None: as ``clips_a_block`` says);
    which, does not change the answers beyond rounding. ``progress`` hears how many more of how many questions this rank
    has answered.

    Raises:
        InputError: a shard breaks the contract, or a logit is not a number (a model that diverged).
    """
    blocks = cut(shards.in_order(plan.ids), batch_size or clips_a_block(frames, regions))
    own = [blocks[i] for i in share(len(blocks), ranks)]
    rows_of = _questions_of(plan)
    of = sum(len(rows_of[identifier]) for block in own for identifier in block)

    def work() -> Tensor:
        found = [torch.empty(0, _COLUMNS, dtype=torch.float64)]
        for block, batch in ahead(_read(shards, own, frames, regions, model.config.box_dim)):
            for answered in _answered(model, plan, [rows_of[identifier] for identifier in block], batch):
                found.append(answered)
                progress(len(answered), of)
        return torch.cat(found)

    parts = ranks.to_first(ranks.agree(work))
    if not ranks.is_first:
        return None
    answered_QX = torch.cat(parts).numpy()
    row_Q, first_Q, tied_Q, right_Q, probability_Q, right_probability_Q = answered_QX[answered_QX[:, 0].argsort()].T
    if not np.array_equal(row_Q, np.arange(len(plan.questions))):
        raise ValueError(f"{len(row_Q)} answers to {len(plan.questions)} questions")
    picks = Picks(first_Q.astype(np.int64), tied_Q.astype(np.int64), right_Q.astype(bool))
    return Given(picks, probability_Q.astype(np.float32), right_probability_Q.astype(np.float32))


def _questions_of(plan: QuestionPlan) -> Mapping[str, range]:
    """The rows of the questions about each video."""
    edges = np.searchsorted(plan.owner_Q, np.arange(len(plan.items) + 1)).tolist()
    return {identifier: range(*pair) for identifier, pair in zip(plan.ids, pairwise(edges), strict=True)}


def _read(
    shards: StoredShards, blocks: Sequence[Sequence[str]], frames: int, regions: int, box_dim: int
) -> Iterator[tuple[Sequence[str], RegionBatch]]:
    for block, samples in zip(blocks, shards.sample_blocks(blocks), strict=True):
        yield block, collate_regions([sample.regions for sample in samples], frames, regions, box_dim)


@torch.inference_mode()
def _answered(
    model: AnsweringModel, plan: QuestionPlan, rows_of_clip: Sequence[range], batch: RegionBatch
) -> Iterator[Tensor]:
    """The columns of the questions about some clips. Questions of similar length go through the model together, so that
    padding costs little."""
    regions_BNE, mask_BN = model.encode_video(batch.to(model.device))
    asked = [(len(plan.questions[q].question), q, clip) for clip, rows in enumerate(rows_of_clip) for q in rows]
    label_of = {answer: label for label, answer in enumerate(model.answers)}
    for block in cut(sorted(asked), QUESTIONS_AT_ONCE):
        _, rows, clips = zip(*block, strict=True)
        text = model.tokenizer([plan.questions[q].question for q in rows]).to(model.device)
        clip_q = torch.tensor(clips, device=model.device)
        logits_qA = model.answer(regions_BNE, mask_BN, text, clip_q).double().cpu()
        label_q = np.array([label_of.get(plan.questions[q].answer, -1) for q in rows])
        yield torch.from_numpy(np.stack([np.array(rows), *_columns(logits_qA, label_q)], 1))


def _columns(logits_qA: Tensor, label_q: NDArray[np.int64]) -> tuple[NDArray, ...]:
    try:
        picks = pick(logits_qA.numpy(), label_q)
    except ValueError as error:
        raise InputError(f"the model cannot be evaluated: {error}") from None
    chances_qA, of_q = logits_qA.softmax(-1).numpy(), np.arange(len(label_q))
    right_q = np.where(label_q < 0, np.nan, chances_qA[of_q, label_q])
    return picks.first_Q, picks.tied_Q, picks.right_Q, chances_qA[of_q, picks.first_Q], right_q
