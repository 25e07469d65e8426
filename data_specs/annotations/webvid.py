"""WebVid: the official CSV, or the authors' TSV of caption and ``page_dir/videoid``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_specs.annotations.identifiers import Identifiers, caption_of
from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import AUTHORS, OFFICIAL, Annotations, Sources
from data_specs.manifest import Item
from data_specs.spec import DatasetSpec, ProtocolSpec

_COLUMNS = ("videoid", "name", "page_dir")
_NO_FOLDER = ("", "nan")  # 367 training videos have no page_dir


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """Rows of the splits whose files are there, in the files' order, read as they are asked for.

    Raises:
        InputError: no split's file is there, a row of it is malformed, or an id occurs twice.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    template = MediaTemplate(spec, root, ("id", "page_dir", "split"))
    forms = {role: _form(path) for _, role, path in sources.files_of(splits)}

    def items() -> Iterator[Item]:
        seen = Identifiers()
        for split, role, path in sources.files_of(splits):
            rows = _official_rows(sources, path) if forms[role] == OFFICIAL else _authors_rows(sources, path)
            for row, folder, video, caption in rows:
                seen.add(path, row, "videoid", video)
                folder = "" if folder.strip().lower() in _NO_FOLDER else folder
                place = template.fill(path, row, id=video, page_dir=folder, split=split)
                yield Item(video, place, split, "video", (caption_of(path, row, "caption", caption),))

    return Annotations(items(), sources.read, absent, forms=forms)


def _form(path: Path) -> str:
    return OFFICIAL if path.suffix.lower() == ".csv" else AUTHORS


def _official_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Row, page_dir, videoid and caption."""
    for row, fields in sources.csv_rows(path, _COLUMNS):
        yield row, fields["page_dir"], fields["videoid"], fields["name"]


def _authors_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, str, str]]:
    for row, (caption, place) in sources.tsv_rows(path, 2):
        folder, _, video = place.rpartition("/")
        yield row, folder, video, caption
