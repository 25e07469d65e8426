"""Whether a model knew the data set that it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from train.history import Learnt

Setting = Literal["zero-shot", "tuned", "seen", "unknown"]
WORDS: dict[Setting, str] = {
    "zero-shot": "zero-shot: the model learnt from other data sets only",
    "tuned": "tuned: the model learnt from other splits of this data set",
    "seen": "seen: the model learnt from the very split that it is evaluated on, so this says nothing of new clips",
    "unknown": "the model does not say what it learnt from; give --setting zero-shot or --setting tuned",
}


def setting_of(history: Sequence[Learnt], dataset: str, splits: Sequence[str]) -> Setting:
    """What the model's history says of the splits of a data set. Splits are compared by name, whatever the protocol."""
    if not history:
        return "unknown"
    known = [source for run in history for source in run.sources if source.dataset == dataset]
    if any(set(source.splits) & set(splits) for source in known):
        return "seen"
    return "tuned" if known else "zero-shot"
