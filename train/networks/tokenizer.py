"""Sentences to word pieces.

Letters: C sentences, L word tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from data_specs.errors import InputError
from train.batch import TextBatch

_DISK_REFUSES = re.compile(r"(?P<problem>.*) \(os error (?P<number>\d+)\)")
"""How the tokenizers library says so, in an ``Exception`` of no other type."""


class CaptionTokenizer:
    """A Hugging Face tokenizer that cuts a sentence at ``max_words`` word pieces and pads to the batch's longest.

    full_length: pads every sentence to ``max_words``, as the released models do, whose loss counts the padding.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_words: int, full_length: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_words = max_words
        self.full_length = full_length
        self._max_length = max_words + tokenizer.num_special_tokens_to_add()
        tokenizer.padding_side = "right"  # [CLS] is read from position 0

    def padding_fully(self) -> CaptionTokenizer:
        """The same tokenizer with ``full_length``."""
        return CaptionTokenizer(self.tokenizer, self.max_words, full_length=True)

    @property
    def special_ids(self) -> list[int]:
        """Ids that are no words: [CLS], [SEP], padding and their like. [UNK] stands for a word."""
        found = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
        ids = (getattr(self.tokenizer, name, None) for name in found)
        return sorted({i for i in ids if i is not None})

    def check_length(self, positions: int | None) -> None:
        """Whether the longest sentence fits into an encoder with so many ``positions``.

        Raises:
            InputError: it does not.
        """
        most = min(positions or self._max_length, self.tokenizer.model_max_length)
        if self._max_length > most:
            raise InputError(
                f"model.max_words: {self.max_words} words are {self._max_length} tokens, the text encoder reads {most};"
                f" set it to at most {most - self._max_length + self.max_words}"
            )

    def __call__(self, sentences: Sequence[str]) -> TextBatch:
        """Word pieces of C sentences, int64 [C, 1+L], [CLS] at position 0.

        Raises:
            ValueError: there is no sentence.
        """
        if not sentences:
            raise ValueError("no sentence to tokenize")
        found = self._encode(sentences, padding="max_length" if self.full_length else "longest")
        return TextBatch(torch.tensor(found["input_ids"]), torch.tensor(found["attention_mask"], dtype=torch.bool))

    def words(self, sentences: Sequence[str]) -> list[list[str]]:
        """Each sentence's word pieces as text; entry l belongs to position l + 1 of the ``TextBatch``."""
        if not sentences:
            return []
        special = set(self.special_ids)
        found = self._encode(sentences)["input_ids"]
        return [self.tokenizer.convert_ids_to_tokens([i for i in ids if i not in special]) for ids in found]

    def _encode(self, sentences: Sequence[str], **options: str) -> BatchEncoding:
        """A caption that spells out ``[SEP]`` means these characters, not the end of the sentence."""
        return self.tokenizer(
            list(sentences), truncation=True, max_length=self._max_length, split_special_tokens=True, **options
        )

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into ``folder``, in the Hugging Face layout.

        Raises:
            OSError: the disk does not take them.
        """
        try:
            self.tokenizer.save_pretrained(str(folder))
        except Exception as error:
            found = _DISK_REFUSES.fullmatch(str(error))
            if type(error) is not Exception or found is None:
                raise
            raise OSError(int(found["number"]), found["problem"]) from None
