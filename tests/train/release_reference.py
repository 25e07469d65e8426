"""The forward pass of the authors' released model, written from the description of it (docs of this project) alone.

Straightforward on purpose: one loop a frame, a head, a pair; whole tensors of pairs; additive masks. It works on a
released state dict by its own names and imports nothing of ``train``; DistilBERT's body is the one of transformers.

Letters: B videos, C sentences, F frames, R regions a frame, N = F*R, L words, D width, E joint width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel

MASKED = -100.0
HEAD_WIDTH = 64
NORM_EPS = 1e-6


def encode_video(state: Mapping[str, Tensor], features: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
    """Vectors [B, 1+F*R, E], not normalised, of features [B, F, R, V], boxes [B, F, R, 6] and mask [B, F, R]."""
    return torch.stack([_one_video(state, *clip) for clip in zip(features, boxes, mask, strict=True)])


def _one_video(state: Mapping[str, Tensor], features: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
    weights = {name.removeprefix("object_model."): tensor for name, tensor in state.items()}
    frames, regions, _ = features.shape
    tokens = [weights["cls_token"][0, 0] + weights["custom_pos_embed"][0, 0]]
    for f in range(frames):
        for r in range(regions):
            token = weights["object_embedding.weight"] @ features[f, r] + weights["object_embedding.bias"]
            token = token + weights["pos_embedding.weight"] @ boxes[f, r] + weights["pos_embedding.bias"]
            tokens.append(token + weights["temporal_embed"][0, f])
    x = torch.stack(tokens)
    additive = torch.cat([torch.zeros(1), (~mask).flatten() * MASKED]).to(x)
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    for block in range(depth):
        own = {name.removeprefix(f"blocks.{block}."): tensor for name, tensor in weights.items()}
        x = x + _attention(own, _norm(own, "norm1", x), additive, frames, regions)
        hidden = _linear(own, "mlp.fc1", _norm(own, "norm2", x))
        x = x + _linear(own, "mlp.fc2", 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2))))
    return x @ weights["proj.weight"].T


def _attention(weights: Mapping[str, Tensor], x: Tensor, additive: Tensor, frames: int, regions: int) -> Tensor:
    """[CLS] attends to everything; a region to [CLS] and the regions of its frame. The mask is added to the scores."""
    width = x.shape[1]
    q, k, v = _linear(weights, "attn.qkv", x).split(width, dim=1)
    heads = []
    for start in range(0, width, HEAD_WIDTH):
        columns = slice(start, start + HEAD_WIDTH)
        rows = [_attend(q[:1, columns], k[:, columns], v[:, columns], additive)]
        for f in range(frames):
            own = list(range(1 + f * regions, 1 + (f + 1) * regions))
            keys = [0, *own]
            rows.append(_attend(q[own, columns], k[keys, columns], v[keys, columns], additive[keys]))
        heads.append(torch.cat(rows))
    return _linear(weights, "attn.proj", torch.cat(heads, dim=1))


def _attend(q: Tensor, k: Tensor, v: Tensor, additive: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / math.sqrt(HEAD_WIDTH) + additive, dim=1) @ v


def _norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + NORM_EPS)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def encode_text(state: Mapping[str, Tensor], config: DistilBertConfig, ids: Tensor, mask: Tensor) -> Tensor:
    """Vectors [C, 1+L, E], not normalised, of token ids and attention mask [C, 1+L]: last layer, ReLU, linear."""
    body = DistilBertModel(config)
    weights = {
        name.removeprefix("text_model."): tensor for name, tensor in state.items() if name.startswith("text_model.")
    }
    weights.pop("embeddings.position_ids", None)
    body.load_state_dict(weights)
    body.to(state["txt_proj.1.weight"].dtype).eval()
    hidden = body(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return _linear(state, "txt_proj.1", torch.clamp(hidden, min=0))


def unit(vectors: Tensor) -> Tensor:
    """L2-normalised over the last axis."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def local_similarity(
    regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor, focal: bool, factor: float = 20.0
) -> Tensor:
    """``S_region→word + S_word→region`` [B, C] of unit vectors [B, N, E], [C, L, E] and their masks."""
    rows = []
    for r, rm in zip(regions, region_mask, strict=True):
        row = []
        for w, wm in zip(words, word_mask, strict=True):
            row.append(_one_way(r, rm, w, wm, focal, factor) + _one_way(w, wm, r, rm, focal, factor))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _one_way(
    queries: Tensor, query_mask: Tensor, context: Tensor, context_mask: Tensor, focal: bool, factor: float
) -> Tensor:
    """Queries [Q, E] look for themselves in a context [K, E]; the mean of their cosines with what they find."""
    scores = queries @ context.T
    scores = torch.where(scores > 0, scores, 0.1 * scores)
    scores = scores / (scores.norm(dim=0, keepdim=True) + 1e-8)
    scores = scores + ((~query_mask) * MASKED)[:, None] + ((~context_mask) * MASKED)[None, :]
    attention = torch.softmax(factor * scores, dim=1)
    if focal:
        attention = attention * (attention > attention.mean(dim=1, keepdim=True))
        attention = attention / attention.sum(dim=1, keepdim=True)
    found = attention @ context
    lengths = queries.norm(dim=1) * found.norm(dim=1)
    return ((queries * found).sum(dim=1) / lengths.clamp(min=1e-8)).mean()


def local_loss(similarity: Tensor, factor: float = 20.0) -> Tensor:
    """``mean_i Σ_j p_ij (log p_ij - log(δ_ij + 1e-6))``, ``p = softmax_j(factor S_ij)``."""
    p = torch.softmax(factor * similarity, dim=1)
    target = torch.eye(len(p), dtype=p.dtype)
    return (p * (p.log() - (target + 1e-6).log())).sum(dim=1).mean()


def global_loss(similarity: Tensor, temperature: float = 0.05) -> Tensor:
    """InfoNCE over rows plus over columns."""
    logits = similarity / temperature
    rows, columns = logits.logsumexp(dim=1) - logits.diagonal(), logits.logsumexp(dim=0) - logits.diagonal()
    return rows.mean() + columns.mean()
