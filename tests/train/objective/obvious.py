"""Both local similarities as loops that follow the formulas word for word."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def slides_similarity(
    regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor, sharpness: float
) -> Tensor:
    rows = []
    for video, real_regions in zip(regions, region_mask, strict=True):
        row = []
        for sentence, real_words in zip(words, word_mask, strict=True):
            found = []
            for region in video[real_regions]:
                scores = sentence[real_words] @ region
                if len(scores):
                    weights = torch.exp(sharpness * scores) / torch.exp(sharpness * scores).sum()
                    context = (weights[:, None] * sentence[real_words]).sum(0)
                    found.append(region @ context)
            row.append(torch.stack(found).mean() if found else (video.sum() + sentence.sum()) * 0)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def release_similarity(regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor, focal: bool) -> Tensor:
    rows = []
    for video, video_mask in zip(regions, region_mask, strict=True):
        row = []
        for sentence, sentence_mask in zip(words, word_mask, strict=True):
            to_words = one_direction(video, video_mask, sentence, sentence_mask, focal)
            row.append(to_words + one_direction(sentence, sentence_mask, video, video_mask, focal))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def one_direction(query: Tensor, query_mask: Tensor, context: Tensor, context_mask: Tensor, focal: bool) -> Tensor:
    scores = F.leaky_relu(query @ context.T, 0.1)  # a row a query
    scores = scores / (scores.square().sum(0, keepdim=True).sqrt() + 1e-8)
    scores = scores + additive(query_mask)[:, None] + additive(context_mask)[None, :]
    attention = torch.softmax(20 * scores, dim=1)
    if focal:
        attention = attention * (attention > attention.mean(1, keepdim=True))
        attention = attention / attention.sum(1, keepdim=True)
    found = attention @ context
    norms = query.norm(dim=1) * found.norm(dim=1)
    return ((query * found).sum(1) / norms.clamp(min=1e-8)).mean()


def additive(mask: Tensor) -> Tensor:
    return torch.where(mask, 0.0, -100.0)


def release_loss(similarity: Tensor) -> Tensor:
    total = torch.zeros((), dtype=similarity.dtype)
    for i, row in enumerate(similarity):
        p = torch.softmax(20 * row, dim=0)
        for j, value in enumerate(p):
            total = total + value * (value.log() - math.log(float(i == j) + 1e-6))
    return total / len(similarity)
