"""TGIF-FrameQA: the official table, or the authors' JSON lines, of questions about animated GIFs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from data_specs.annotations.identifiers import identifier_of
from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import AUTHORS, OFFICIAL, Annotations, Sources, text_field
from data_specs.annotations.tables import TableForm
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.spec import DatasetSpec, ProtocolSpec, SplitName, SplitSpec

TYPES = ("object", "number", "color", "location")  # what 0 to 3 mean in the official table
_COLUMNS = ("gif_name", "question", "answer", "type", "vid_id")
_FIELDS = ("gif_name", "question", "answer", "answer_type")
_TABLE = TableForm("\t", strict=False)  # read as its owners do; a quote may begin a value that is not quoted

Asked = tuple[Path, int, str, Question]  # file, row, GIF, question


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """One row a GIF and split, in the order in which the file names it first, with all its questions.

    The authors drew their validation questions from the official training questions, so that a GIF may stand in both
    splits: ids are ``{split}/{gif_name}``. Where official training and authors' validation questions are used
    together, the latter are left out of the former.

    Raises:
        InputError: no split's file is there, or a row of it is malformed.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    template = MediaTemplate(spec, root, ("id", "split"))
    forms = {role: _form(path) for _, role, path in sources.files_of(splits)}
    asked = _asked(sources, splits, forms)
    _leave_out_validation(asked, splits, forms)
    items = []
    for split, rows in asked.items():
        gifs: dict[str, tuple[str, list[Question]]] = {}
        for path, row, gif, question in rows:
            if gif not in gifs:
                gifs[gif] = (template.fill(path, row, id=gif, split=split), [])
            gifs[gif][1].append(question)
        items += [
            Item(f"{split}/{gif}", place, split, "video", questions=tuple(questions))
            for gif, (place, questions) in gifs.items()
        ]
    return Annotations(items, sources.read, absent, forms=forms)


def _form(path: Path) -> str:
    return AUTHORS if path.suffix.lower() == ".jsonl" else OFFICIAL


def _asked(
    sources: Sources, splits: Mapping[SplitName, SplitSpec], forms: Mapping[str, str]
) -> dict[SplitName, list[Asked]]:
    asked: dict[SplitName, list[Asked]] = {}
    for split, role, path in sources.files_of(splits):
        rows = _official_rows(sources, path) if forms[role] == OFFICIAL else _authors_rows(sources, path, role)
        keys: dict[str, int] = {}
        for row, gif, question in rows:
            identifier_of(path, row, "gif_name", gif)
            if question.key in keys:
                raise InputError(f"{path}: row {row}: vid_id: {question.key!r:.80} stands in row {keys[question.key]}")
            keys[question.key] = row
            asked.setdefault(split, []).append((path, row, gif, question))
    return asked


def _official_rows(sources: Sources, path: Path) -> Iterator[tuple[int, str, Question]]:
    """Row, GIF and question, keyed by ``vid_id``, which numbers questions. ``description`` tells the answer: unused."""
    for row, fields in sources.csv_rows(path, _COLUMNS, _TABLE):
        texts = [text_field(path, row, fields, name) for name in _COLUMNS]
        gif, question, answer, kind, key = texts
        if "\n" in "".join(fields.values()):
            raise InputError(f"{path}: row {row}: a value goes over several lines; is a quote left open?")
        if kind not in map(str, range(len(TYPES))):
            raise InputError(f"{path}: row {row}: type: {kind!r:.80} is not one from 0 to {len(TYPES) - 1}")
        yield row, gif, Question(question, answer, TYPES[int(kind)], key=key)


def _authors_rows(sources: Sources, path: Path, role: str) -> Iterator[tuple[int, str, Question]]:
    """Row, GIF and question; there are no ids, the key is ``{role}-{row}``, rows from 0."""
    for place, (row, fields) in enumerate(sources.json_rows(path)):
        gif, *words = (text_field(path, row, fields, name) for name in _FIELDS)
        yield row, gif, Question(*words, key=f"{role}-{place}")


def _leave_out_validation(
    asked: dict[SplitName, list[Asked]], splits: Mapping[SplitName, SplitSpec], forms: Mapping[str, str]
) -> None:
    def of_form(split: SplitName, form: str) -> bool:
        return split in asked and all(forms[role] == form for role in splits[split].files)

    if not (of_form("train", OFFICIAL) and of_form("val", AUTHORS)):
        return
    held = {(gif, question.question, question.answer) for _, _, gif, question in asked["val"]}
    asked["train"] = [row for row in asked["train"] if (row[2], row[3].question, row[3].answer) not in held]
