"""Frames of the media as JPEG thumbnails inside the page, each stored once however often it is shown."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from data_specs.failures import MediaError
from data_specs.manifest import Item
from data_specs.stills import still

THUMBNAIL_WIDTH = 320  # pixels


@dataclass(frozen=True)
class Picture:
    """A frame as a data URI, or why there is none."""

    uri: str = ""
    problem: str = ""


FrameAt = Callable[[Item, float], Picture]


def pictures(media_root: Path | None) -> FrameAt:
    """A function from an item and a time in seconds to its frame, each decoded once."""
    if media_root is None:
        return lambda item, timestamp: Picture(problem="no --media-root was given")

    @functools.cache
    def decoded(path: str, timestamp: float) -> Picture:
        try:
            jpeg = still(media_root / path, timestamp, THUMBNAIL_WIDTH)
        except MediaError as error:
            return Picture(problem=str(error))
        return Picture(uri=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}")

    return lambda item, timestamp: decoded(item.path, timestamp)


def album(shown: Iterable[Picture]) -> dict[str, str]:
    """Data URI to the id under which the page stores it, in the order of first use."""
    uris = dict.fromkeys(picture.uri for picture in shown if picture.uri)
    return {uri: f"frame-{number}" for number, uri in enumerate(uris, start=1)}
