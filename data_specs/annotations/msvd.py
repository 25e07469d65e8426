"""MSVD: one TAB-separated file of joined captions a split, and MSVD-QA, whose numbers a mapping turns into clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import Annotations, Sources, plain_id, text_field
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.spec import DatasetSpec, ProtocolSpec

SEPARATOR = ", "  # no caption of MSVD holds a comma, so that the split loses nothing
_NUMBER_PREFIX = "vid"


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """Rows of a protocol in its files' order: clips with captions, or clips with questions where a split has those.

    Raises:
        InputError: a file is missing or malformed, or a clip stands in two of them; names file, row and clip.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    place = MediaTemplate(spec, root, ("id", "split")).template
    numbers: dict[int, str] | None = None
    home: dict[str, Path] = {}
    keys: dict[str, Path] = {}
    items: list[Item] = []
    for name, split in splits.items():
        for role in split.files:
            path = sources.require(role)
            if role in split.questions:
                if numbers is None:
                    numbers = _numbers(sources, protocol)
                rows = read_questions(sources, path, numbers, keys)
                clips: Iterator[tuple[str, dict[str, Any]]] = ((c, {"questions": tuple(q)}) for c, q in rows.items())
            else:
                clips = ((clip, {"captions": tuple(said)}) for clip, said in read_captions(sources, path).items())
            for clip, fields in clips:
                if clip in home:
                    raise InputError(f"{path}: {clip} already stands in {home[clip]}")
                home[clip] = path
                items.append(Item(clip, place.format(id=clip, split=name), name, spec.media[0], **fields))
    return Annotations(items, sources.read, absent)


def read_captions(sources: Sources, path: Path) -> dict[str, list[str]]:
    """Clip to captions: rows of captions joined by ``", "`` (one more may trail) and a clip id, no header.

    Raises:
        InputError: a row has not two values, no caption, an empty one, no proper clip id, or one that stood before.
    """
    captions: dict[str, list[str]] = {}
    for row, (text, clip) in sources.tsv_rows(path, 2):
        plain_id(path, row, clip, "clip")
        if clip in captions:
            raise InputError(f"{path}: row {row}: clip {clip} has a row already")
        said = text.removesuffix(SEPARATOR).removesuffix(SEPARATOR.rstrip()).split(SEPARATOR)
        if not all(caption.strip() for caption in said):
            raise InputError(f"{path}: row {row}: clip {clip} has an empty caption")
        captions[clip] = said
    if not captions:
        raise InputError(f"{path}: holds no clip")
    return captions


def read_numbers(sources: Sources, path: Path) -> dict[int, str]:
    """Number to clip id, from lines of ``{clip id} vid{number}``.

    Raises:
        InputError: a line is not of that form, or a number or clip stands twice.
    """
    clips: dict[int, str] = {}
    rows: dict[str, int] = {}
    for row, line in sources.lines(path):
        clip, _, word = line.strip().rpartition(" ")
        digits = word.removeprefix(_NUMBER_PREFIX)
        if not clip or digits == word or not (digits.isascii() and digits.isdigit()):
            raise InputError(f"{path}: row {row}: expected 'CLIP {_NUMBER_PREFIX}NUMBER', found {line[:60]!r}")
        plain_id(path, row, clip, "clip")
        number = int(digits[:18])
        for known in (clip, word):
            if known in rows:
                raise InputError(f"{path}: row {row}: {known} already stands in row {rows[known]}")
        if number in clips:
            raise InputError(f"{path}: row {row}: {clip} {word} means number {number}, as {clips[number]} does")
        rows |= {clip: row, word: row}
        clips[number] = clip
    return clips


def read_questions(
    sources: Sources, path: Path, numbers: dict[int, str], keys: dict[str, Path]
) -> dict[str, list[Question]]:
    """Clip to its questions in the file's order, from a list of ``{answer, id, question, video_id: int}``.

    The answer type is the question's first word, as in MSRVTT-QA. Rows count from 0, as JSON indices. ``keys`` holds
    the question ids read before, and gets these.

    Raises:
        InputError: not such a list, a question id that stood before, or a number that the mapping has no clip for.
    """
    tree = sources.json(path)
    if not isinstance(tree, list) or not tree:
        raise InputError(f"{path}: expected a list of questions, found {type(tree).__name__}")
    asked: dict[str, list[Question]] = {}
    for row, fields in enumerate(tree):
        question, answer = (text_field(path, row, fields, name) for name in ("question", "answer"))
        number, key = (_integer(path, row, fields, name) for name in ("video_id", "id"))
        if number not in numbers:
            raise InputError(f"{path}: row {row}: video_id: {number} is in no line of the mapping of numbers to clips")
        if str(key) in keys:
            raise InputError(f"{path}: row {row}: id: {key} already stands in {keys[str(key)].name}")
        keys[str(key)] = path
        found = Question(question, answer, question.split()[0], key=str(key))
        asked.setdefault(numbers[number], []).append(found)
    return asked


def _numbers(sources: Sources, protocol: ProtocolSpec) -> dict[int, str]:
    if protocol.ids is None:
        raise InputError(f"{sources.spec.name}: its questions name clips by number: the protocol needs ids: ROLE")
    return read_numbers(sources, sources.require(protocol.ids))


def _integer(path: Path, row: int, fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int:
        raise InputError(f"{path}: row {row}: {name}: expected a whole number, found {str(value)[:60]!r}")
    return value
