"""Shapes in its own layout: one JSON line a clip, one file a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import Annotations, Sources, text_field, text_list
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.spec import DatasetSpec, ProtocolSpec


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """Rows of a protocol, in the files' order.

    Raises:
        InputError: a file is missing, or a row of it is malformed.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    media = MediaTemplate(spec, root, ("id", "split"))
    items = []
    for name, split in splits.items():
        for role in split.files:
            path = sources.require(role)
            for row, fields in sources.json_rows(path):
                identifier = text_field(path, row, fields, "id")
                asked = fields.get("questions")
                if not isinstance(asked, list):
                    raise InputError(f"{path}: row {row}: questions: expected a list")
                items.append(
                    Item(
                        id=identifier,
                        path=media.fill(path, row, id=identifier, split=name),
                        split=name,
                        media=spec.media[0],
                        captions=text_list(path, row, fields, "captions"),
                        questions=tuple(_question(path, row, question) for question in asked),
                    )
                )
    return Annotations(items, sources.read, absent)


def _question(path: Path, row: int, fields: Any) -> Question:
    answer = text_field(path, row, fields, "answer")
    options, label = text_list(path, row, fields, "options"), fields.get("label")
    if type(label) is not int or not -1 <= label < len(options) or (label == -1) != (not options):
        raise InputError(f"{path}: row {row}: label: {label!r} is not one of {len(options)} options")
    (question,) = text_list(path, row, {"question": [fields.get("question")]}, "question")  # a choice has none
    kind, key = text_field(path, row, fields, "answer_type"), text_field(path, row, fields, "key")
    return Question(question, answer, kind, options, label, key)
