"""Whether a model knew the data set that it is evaluated on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from train.history import Learnt

Setting = Literal["zero-shot", "tuned", "seen", "other-protocol", "unknown"]
WORDS: dict[Setting, str] = {
    "zero-shot": "zero-shot: the model learnt from other data sets only",
    "tuned": "tuned: the model learnt from other splits of this data set",
    "seen": "seen: the model learnt from the very split that it is evaluated on, so this says nothing of new clips",
    "other-protocol": "other protocol: the model learnt from this data set as another protocol splits it, so some of"
    " these clips may be among those that it knows; where that is not so, give --setting tuned",
    "unknown": "the model does not say what it learnt from; give --setting zero-shot or --setting tuned",
}


def setting_of(
    history: Sequence[Learnt], dataset: str, splits: Sequence[str], protocol: str = "", alike: Collection[str] = ()
) -> Setting:
    """What the model's history says of the splits of a data set under a protocol.

    Names of splits mean the same clips in that protocol and in those that split ``alike`` only.
    """
    if not history:
        return "unknown"
    known = [source for run in history for source in run.sources if source.dataset == dataset]
    comparable = [source for source in known if source.protocol in (protocol, *alike)]
    if any(set(source.splits) & set(splits) for source in comparable):
        return "seen"
    if len(comparable) < len(known):
        return "other-protocol"
    return "tuned" if known else "zero-shot"
