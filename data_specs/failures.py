"""Why an item gave no sample: a closed list of reasons, and the record of one failure."""

from __future__ import annotations

import re
from enum import StrEnum

from data_specs.configuration import Settings

DETAIL_LENGTH = 300
_CHANGING = re.compile(r" @ 0x[0-9a-f]+|(file:)?/dev/fd/\d+:?")  # differs from run to run; records must not


class Reason(StrEnum):
    """Reasons an item gives no sample."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_MEDIA = "not_media"
    NO_VIDEO_STREAM = "no_video_stream"
    DECODE_ERROR = "decode_error"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    UNSUPPORTED_FORMAT = "unsupported_format"
    KILLED_WORKER = "killed_worker"
    NO_REGIONS = "no_regions"


class Failure(Settings):
    """One planned item that gave no sample, with a one-line detail."""

    id: str
    reason: Reason
    detail: str


def last_words(stderr: str, most: int = 200) -> str:
    """The end of what a tool said, ``most`` characters of it; what differs from run to run is taken out first."""
    return _steady(stderr)[-most:]


class MediaError(Exception):
    """A media file cannot be used; carries the reason and a one-line detail without paths of this machine."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = _steady(detail)[:DETAIL_LENGTH]

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def _steady(text: str) -> str:
    return " ".join(_CHANGING.sub("", text).split())
