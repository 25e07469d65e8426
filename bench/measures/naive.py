"""The released objective as its formula reads, in whole tensors.

Letters: B videos, C sentences, N regions a video, L words a sentence, E joint width; Q queries and K context, which are
the one and the other in turn. Source: the authors' published code, described in our own words.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from train.losses import global_similarity, info_nce
from train.model import PairEmbedding

_SHARPNESS, _LEAK, _MASKED, _TINY = 20.0, 0.1, -100.0, 1e-8


def naive_loss(pairs: PairEmbedding) -> Tensor:
    """Global InfoNCE plus the release's local loss, with ``[B, C, N, E]`` and ``[B, C, L, E]`` in memory."""
    video, text = pairs.video, pairs.text
    similarity_BC = naive_similarity(video.regions_BNE, video.mask_BN, text.words_CLE, text.mask_CL)
    attention_BC = (_SHARPNESS * similarity_BC).softmax(1)
    own_BC = torch.eye(len(attention_BC), dtype=attention_BC.dtype, device=attention_BC.device)
    local = (attention_BC * (attention_BC.clamp(min=1e-30).log() - (own_BC + 1e-6).log())).sum(1).mean()
    return info_nce(global_similarity(video.cls_BE, text.cls_CE), pairs.temperature) + local


def naive_similarity(regions_BNE: Tensor, mask_BN: Tensor, words_CLE: Tensor, mask_CL: Tensor) -> Tensor:
    """``S [B, C]``, regions asking words plus words asking regions."""
    B, C = len(regions_BNE), len(words_CLE)
    regions = regions_BNE[:, None].expand(B, C, -1, -1), mask_BN[:, None].expand(B, C, -1)
    words = words_CLE[None].expand(B, C, -1, -1), mask_CL[None].expand(B, C, -1)
    return _asked(*regions, *words) + _asked(*words, *regions)


def _asked(queries_BCQE: Tensor, mask_BCQ: Tensor, context_BCKE: Tensor, mask_BCK: Tensor) -> Tensor:
    scores_BCKQ = F.leaky_relu(context_BCKE @ queries_BCQE.mT, _LEAK)
    scores_BCKQ = scores_BCKQ / (scores_BCKQ.norm(dim=-1, keepdim=True) + _TINY)
    hidden_BCKQ = (~mask_BCK[..., :, None]).float() + (~mask_BCQ[..., None, :]).float()
    attention_BCQK = (_SHARPNESS * (scores_BCKQ + _MASKED * hidden_BCKQ)).mT.softmax(-1)
    focused_BCQK = attention_BCQK * (attention_BCQK > attention_BCQK.mean(-1, keepdim=True))
    focused_BCQK = focused_BCQK / focused_BCQK.sum(-1, keepdim=True).clamp(min=_TINY)
    found_BCQE = focused_BCQK @ context_BCKE
    return F.cosine_similarity(queries_BCQE, found_BCQE, dim=-1, eps=_TINY).mean(-1)
