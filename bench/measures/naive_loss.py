"""The local loss as a direct tensor program, the way the released code goes about it: the yardstick of the benchmarks.

Letters: B videos, C sentences, N regions a video, L words a sentence, E joint width; P pairs = B * C; n queries and m
contexts of one direction. Every video is laid beside every sentence, padding included. Source: the form that
``train.objective.release_form`` describes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def naive_release_loss(regions_BNE: Tensor, region_mask_BN: Tensor, words_CLE: Tensor, word_mask_CL: Tensor) -> Tensor:
    """The focal release form of the local loss of B = C pairs."""
    (B, N, E), (C, L) = regions_BNE.shape, word_mask_CL.shape
    regions_PNE = regions_BNE[:, None].expand(B, C, N, E).reshape(B * C, N, E)
    words_PLE = words_CLE[None].expand(B, C, L, E).reshape(B * C, L, E)
    region_mask_PN = _additive(region_mask_BN)[:, None].expand(B, C, N).reshape(B * C, N)
    word_mask_PL = _additive(word_mask_CL)[None].expand(B, C, L).reshape(B * C, L)
    scores_P = _one_direction(regions_PNE, region_mask_PN, words_PLE, word_mask_PL)
    scores_P = scores_P + _one_direction(words_PLE, word_mask_PL, regions_PNE, region_mask_PN)
    p = (20 * scores_P.view(B, C)).softmax(1)
    labels = torch.eye(B, dtype=p.dtype, device=p.device)
    return (p * ((p + 1e-12).log() - (labels + 1e-6).log())).sum(1).mean()


def _one_direction(query_PnE: Tensor, query_mask_Pn: Tensor, context_PmE: Tensor, context_mask_Pm: Tensor) -> Tensor:
    scores_Pmn = F.leaky_relu(torch.bmm(context_PmE, query_PnE.transpose(1, 2)), 0.1)
    scores_Pmn = scores_Pmn / (scores_Pmn.pow(2).sum(2, keepdim=True).sqrt() + 1e-8)
    scores_Pnm = scores_Pmn.transpose(1, 2).contiguous()
    scores_Pnm = scores_Pnm + query_mask_Pn[:, :, None] + context_mask_Pm[:, None, :]
    attention_Pnm = torch.softmax(20 * scores_Pnm, dim=2)
    kept_Pnm = torch.where(attention_Pnm > attention_Pnm.mean(2, keepdim=True), 1.0, 0.0)
    attention_Pnm = attention_Pnm * kept_Pnm
    attention_Pnm = attention_Pnm / attention_Pnm.sum(2, keepdim=True)
    found_PnE = torch.bmm(attention_Pnm, context_PmE)
    numerator_Pn = (query_PnE * found_PnE).sum(2)
    norms_Pn = query_PnE.norm(dim=2) * found_PnE.norm(dim=2)
    return (numerator_Pn / norms_Pn.clamp(min=1e-8)).mean(1)


def _additive(mask: Tensor) -> Tensor:
    return torch.where(mask, 0.0, -100.0)
