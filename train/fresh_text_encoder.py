"""A small text encoder with random weights, whose word pieces are the words of a manifest: for training from scratch.

Where captions speak of a small world, or a language that no pretrained encoder knows, it learns with the rest of the
model and costs next to nothing beside it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.manifest import Manifest
from train.networks.initial import initial_std

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS = 128


def make_text_encoder(
    out: Path,
    manifest: Manifest,
    *,
    width: int,
    layers: int,
    heads: int,
    vocabulary: int,
    seed: int,
    dropout: float = 0.1,
) -> int:
    """Writes a BERT of ``layers`` blocks, ``width`` wide, as a Hugging Face folder; returns its number of word pieces.

    They are the ``vocabulary`` most frequent words of the training split's captions and questions, and single letters,
    of which every other word is put together. ``dropout``: BERT's two, of what it computes and of its attention.

    Raises:
        InputError: ``out`` is there already, the split says nothing, or ``heads`` do not divide ``width``.
    """
    if out.exists():
        raise InputError(f"{out} is there already; remove it or choose another --out")
    if width % heads:
        raise InputError(f"--width {width} is not a multiple of --heads {heads}")
    words = Counter(word for sentence in _said(manifest) for word in _words(sentence))
    if not words:
        raise InputError("no caption and no question of split train: there are no words to learn")
    letters = sorted({letter for word in words for letter in word})
    frequent = [word for word, _ in sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:vocabulary]]
    pieces = list(dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent]))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=POSITIONS, initializer_range=initial_std(width),
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    BertModel(config).save_pretrained(temporary)
    _tokenizer(pieces).save_pretrained(temporary)
    atomic.fsync_tree(temporary)
    temporary.rename(out)
    return len(pieces)


def _said(manifest: Manifest) -> Iterator[str]:
    for item in manifest.take(manifest.rows_of("train")):
        yield from item.captions
        yield from (question.question for question in item.questions)


def _words(sentence: str) -> Iterable[str]:
    backend = _READER.backend_tokenizer
    return (word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(sentence)))


def _tokenizer(pieces: Iterable[str]) -> BertTokenizerFast:
    return BertTokenizerFast(vocab={piece: row for row, piece in enumerate(pieces)}, model_max_length=POSITIONS)


_READER = _tokenizer(SPECIAL)
"""Cuts sentences into words as the written tokenizer will."""
