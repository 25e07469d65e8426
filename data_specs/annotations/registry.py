"""Which parser reads which ``format`` of a spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_specs.annotations import cc3m, didemo, folder, lsmdc, msrvtt, msvd, shapes, tgif, webvid
from data_specs.annotations.sources import Annotations
from data_specs.errors import InputError, did_you_mean
from data_specs.spec import DatasetSpec, ProtocolSpec

Parser = Callable[[DatasetSpec, ProtocolSpec, Path], Annotations]

PARSERS: dict[str, Parser] = {
    "cc3m": cc3m.parse,
    "didemo": didemo.parse,
    "folder": folder.parse,
    "lsmdc": lsmdc.parse,
    "msrvtt": msrvtt.parse,
    "msvd": msvd.parse,
    "shapes": shapes.parse,
    "tgif": tgif.parse,
    "webvid": webvid.parse,
}


def parser_of(spec: DatasetSpec) -> Parser:
    """The parser of a spec's format.

    Raises:
        InputError: no such format; names the nearest.
    """
    if spec.format not in PARSERS:
        raise InputError(f"{spec.name}: format {spec.format!r} is unknown: {did_you_mean(spec.format, PARSERS)}")
    return PARSERS[spec.format]
