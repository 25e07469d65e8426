"""The head that answers open-ended questions: a question looks for regions, and what it finds chooses an answer.

Letters: B videos, N regions a video, Q questions, K the most questions that a video of the batch has, E joint width,
H hidden width, A answers. Sources: bottom-up attention VQA (arXiv 1707.07998, arXiv 1708.02711) with ReLU for the gated
tanh; weight normalisation (arXiv 1602.07868).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class AnswerHead(nn.Module):
    """``answer_head(question, regions)``, with weight-normalised layers ``f(x) = ReLU(W x + b)``:

    attention ``s_n = w · (f_1(r_n) * f_2(q))`` and its softmax over the real regions of the question's video, ``v``
    their sum by these weights, ``h = f_3(v) * f_4(q)``, and the logits ``W' dropout(f_5(h)) + b'``, where ``f_5`` is
    twice as wide as the others. ``r_n`` and ``q`` are made sqrt(E) long first: what pre-trained them looks at their
    directions alone, and their lengths, at first small, would hold the head back.

    The scores are of the product of both sides, not of their concatenation as in the sources: so they are one matrix
    product, and nothing of the size [Q, N, H] is held.
    """

    def __init__(self, joint_dim: int, hidden: int, answers: int, dropout: float) -> None:
        super().__init__()
        self.region_key, self.question_key = _normalised(joint_dim, hidden), _normalised(joint_dim, hidden)
        self.score = weight_norm(nn.Linear(hidden, 1, bias=False))  # a softmax takes no notice of one
        self.region, self.question = _normalised(joint_dim, hidden), _normalised(joint_dim, hidden)
        self.joint, self.answer = _normalised(hidden, 2 * hidden), _normalised(2 * hidden, answers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, regions_BNE: Tensor, mask_BN: Tensor, questions_QE: Tensor, clip_Q: Tensor) -> Tensor:
        """Logits [Q, A], float32.

        mask_BN: true at real regions; a video without any is answered from the question alone. clip_Q: the video that
        each question is about, a row of ``regions_BNE``; int64, best on the CPU, as its largest count is looked at.
        """
        regions_BNE, questions_QE = _of_one_length(regions_BNE), _of_one_length(questions_QE)
        found_QE = self._attended(regions_BNE, mask_BN, questions_QE, clip_Q)
        joint_QH = F.relu(self.region(found_QE)) * F.relu(self.question(questions_QE))
        return self.answer(self.dropout(F.relu(self.joint(joint_QH)))).float()

    def _attended(self, regions_BNE: Tensor, mask_BN: Tensor, questions_QE: Tensor, clip_Q: Tensor) -> Tensor:
        places = _Places.of(clip_Q, len(regions_BNE), questions_QE.device)
        keys_BNH, wanted_QH = F.relu(self.region_key(regions_BNE)), F.relu(self.question_key(questions_QE))
        wanted_BKH = places.by_video(wanted_QH * self.score.weight)
        scores_BKN = (wanted_BKH @ keys_BNH.mT).float()
        is_real_B1N = mask_BN[:, None]
        # Not -inf: where no region is real, a softmax of nothing but that is no number, and neither is its gradient.
        attention_BKN = scores_BKN.masked_fill(~is_real_B1N, torch.finfo(torch.float32).min).softmax(-1) * is_real_B1N
        return places.by_question(attention_BKN.to(regions_BNE.dtype) @ regions_BNE)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the questions stand in a table of videos by at most K questions each: their cells, as rows of B*K."""

    cell_Q: Tensor
    videos: int
    most: int

    @classmethod
    def of(cls, clip_Q: Tensor, videos: int, device: torch.device) -> _Places:
        clip_Q = clip_Q.cpu()
        order_Q = clip_Q.argsort(stable=True)
        counts_B = clip_Q.bincount(minlength=videos)
        before_B = counts_B.cumsum(0) - counts_B
        rank_Q = torch.empty_like(clip_Q)
        rank_Q[order_Q] = torch.arange(len(clip_Q)) - before_B[clip_Q[order_Q]]
        most = max(1, int(counts_B.max()))
        return cls((clip_Q * most + rank_Q).to(device, non_blocking=True), videos, most)

    def by_video(self, rows_QH: Tensor) -> Tensor:
        """[Q, H] to [B, K, H]; cells without a question are zero."""
        table = rows_QH.new_zeros(self.videos * self.most, rows_QH.shape[1])
        return table.index_copy(0, self.cell_Q, rows_QH).unflatten(0, (self.videos, self.most))

    def by_question(self, table_BKE: Tensor) -> Tensor:
        """[B, K, E] to [Q, E]."""
        return table_BKE.flatten(0, 1)[self.cell_Q]


def _of_one_length(vectors: Tensor) -> Tensor:
    """Vectors [..., E] made sqrt(E) long, so that their numbers are about 1; zeros stay zeros."""
    return F.normalize(vectors, dim=-1) * math.sqrt(vectors.shape[-1])


def _normalised(inputs: int, outputs: int) -> nn.Linear:
    """A linear map whose rows are learnt as a length and a direction each."""
    return weight_norm(nn.Linear(inputs, outputs))
