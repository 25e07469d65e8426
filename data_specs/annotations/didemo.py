"""DiDeMo paragraphs: the official JSON of single descriptions, or the authors' TSV of joined ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_specs.annotations.identifiers import Identifiers, caption_of, identifier_of
from data_specs.annotations.places import below
from data_specs.annotations.sources import AUTHORS, OFFICIAL, Annotations, Sources, text_field
from data_specs.annotations.stems import Stems, stem_of
from data_specs.errors import InputError
from data_specs.manifest import Item
from data_specs.spec import DatasetSpec, ProtocolSpec

SEPARATOR = ", "  # with which the authors joined a video's descriptions; one more trails


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """One row a video, by the stem of its file's name, its descriptions in the file's order.

    The path is that of the media file of this stem, whatever its suffix; the first of the spec's if there is none.

    Raises:
        InputError: no split's file is there, a row of it is malformed, a video stands in two splits, or descriptions
            are wanted that are joined already.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    forms = {role: _form(path) for _, role, path in sources.files_of(splits)}
    media, seen = Stems(spec, root), Identifiers()
    items = []
    for split, role, path in sources.files_of(splits):
        if forms[role] == AUTHORS:
            _refuse_other_separator(sources, protocol, role, path)
        rows = _official_rows(sources, path) if forms[role] == OFFICIAL else _authors_rows(sources, path)
        videos: dict[str, tuple[int, list[str]]] = {}
        for row, video, description in rows:
            identifier_of(path, row, "video", video)
            if video not in videos or forms[role] == AUTHORS:
                seen.add(path, row, "video", video)
            videos.setdefault(video, (row, []))[1].append(caption_of(path, row, "description", description))
        for video, (row, descriptions) in videos.items():
            place = below(path, row, media.place(video))
            items.append(Item(video, place, split, "video", tuple(descriptions)))
    return Annotations(items, sources.read, absent, forms=forms)


def _form(path: Path) -> str:
    return OFFICIAL if path.suffix.lower() == ".json" else AUTHORS


def _official_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str]]:
    """Row, stem and description; rows count from 0, as JSON indices."""
    tree = sources.json(path)
    if not isinstance(tree, list):
        raise InputError(f"{path}: expected a list of descriptions, found {type(tree).__name__}")
    for row, fields in enumerate(tree):
        yield row, stem_of(text_field(path, row, fields, "video")), text_field(path, row, fields, "description")


def _authors_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str]]:
    """Row, stem and paragraph."""
    for row, (paragraph, video) in sources.tsv_rows(path, 2):
        yield row, stem_of(video), paragraph.removesuffix(SEPARATOR)


def _refuse_other_separator(sources: Sources, protocol: ProtocolSpec, role: str, path: Path) -> None:
    if protocol.joined_by != SEPARATOR:
        file = sources.spec.files[role]
        raise InputError(
            f"{path}: its descriptions are joined by {SEPARATOR!r} already, and the protocol wants"
            f" {protocol.joined_by!r} between them: it needs the official {sources.root / file.places[0]}"
        )
