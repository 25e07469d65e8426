"""What a baseline's figures are written as."""

from __future__ import annotations

from data_specs.configuration import Settings
from evaluate.result import BothWays, Interval


class BaselineResult(Settings):
    """Figures of retrieval, with the chance level in them, and accuracies in percent where the baseline has some.

    name: of the baseline. videos: how many took part, of the split's all.
    """

    name: str
    about: str
    protocol: str
    splits: tuple[str, ...]
    videos: int
    manifest_sha256: str
    retrieval: BothWays
    multiple_choice: float | None = None
    multiple_choice_interval: Interval | None = None
    question_answering: float | None = None
