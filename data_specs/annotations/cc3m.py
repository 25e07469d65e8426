"""Conceptual Captions (CC3M): the official TSV of caption and URL, or the authors' of caption and image name."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from data_specs.annotations.identifiers import Identifiers, caption_of
from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import AUTHORS, OFFICIAL, Annotations, Sources
from data_specs.annotations.tables import RAW_TSV
from data_specs.errors import InputError
from data_specs.manifest import Item
from data_specs.spec import DatasetSpec, ProtocolSpec

FOLDERS = {"train": "training", "val": "validation", "test": "test"}
_URL = "://"


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """Rows of the splits whose files are there, in the files' order, read as they are asked for.

    Raises:
        InputError: no split's file is there, a row of it is malformed, or an image name occurs twice.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    template = MediaTemplate(spec, root, ("id", "folder", "split"))
    forms = {role: _form(sources, path) for _, role, path in sources.files_of(splits)}

    def items() -> Iterator[Item]:
        seen = Identifiers()
        for split, role, path in sources.files_of(splits):
            rows = _official_rows(sources, path) if forms[role] == OFFICIAL else _authors_rows(sources, path)
            for row, image, caption in rows:
                seen.add(path, row, "image", image)
                place = template.fill(path, row, id=image, folder=FOLDERS[split], split=split)
                yield Item(image, place, split, "image", (caption_of(path, row, "caption", caption),))

    return Annotations(items(), sources.read, absent, forms=forms)


def image_name(row: int, url: str) -> str:
    """The name under which an image is stored: its row in the official file, from 0, and the URL's CRC-32."""
    return f"{row}_{zlib.crc32(url.encode('utf-8'))}"


def _form(sources: Sources, path: Path) -> str:
    """Both forms have two columns and the same suffix; only in the official one the second is a URL."""
    return OFFICIAL if _URL in next(sources.stream(path), "").rpartition("\t")[2] else AUTHORS


def _official_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str]]:
    """Row, image name and caption. Quotes are letters here: a caption may begin with one."""
    for place, (row, (caption, url)) in enumerate(sources.tsv_rows(path, 2, RAW_TSV)):
        if _URL not in url:
            raise InputError(f"{path}: row {row}: url: expected a URL, found {url!r:.80}")
        yield row, image_name(place, url), caption


def _authors_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str]]:
    for row, (caption, image) in sources.tsv_rows(path, 2):
        yield row, image, caption
