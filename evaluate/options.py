"""What may be chosen of any evaluation."""

from __future__ import annotations

from pydantic import PositiveInt, field_validator

from data_specs.configuration import Settings
from data_specs.manifest import SPLITS
from evaluate.protocol import DEFAULT_SPLITS
from evaluate.setting import Setting


class EvaluationOptions(Settings):
    """``frames``, ``regions`` and ``setting`` of None mean: as the shards, the model and its history say.

    resamples: of the bootstrap. note: a remark that result and page carry.
    """

    splits: tuple[str, ...] = DEFAULT_SPLITS
    frames: PositiveInt | None = None
    regions: PositiveInt | None = None
    allow_missing: bool = False
    setting: Setting | None = None
    resamples: PositiveInt = 1000
    note: str = ""

    @field_validator("splits")
    @classmethod
    def _in_their_order(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        """Each once: the same splits are the same protocol, however they were said."""
        return tuple(sorted(dict.fromkeys(given), key=lambda split: (*SPLITS, split).index(split)))
