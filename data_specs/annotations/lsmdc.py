"""LSMDC: tables of clips and sentences (retrieval), and of clips, five sentences and the right one's number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.annotations.identifiers import caption_of, identifier_of
from data_specs.annotations.msrvtt import MULTIPLE_CHOICE
from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import Annotations, Sources
from data_specs.annotations.tables import RAW_TSV
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.spec import ChoiceSpec, DatasetSpec, ProtocolSpec

_TIMES = 4  # start and end of the sentence and of the clip, in the film: clips are files of their own, so none is kept


@dataclass
class _Clip:
    """What the rows of one clip say."""

    split: str
    path: str
    captions: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """One row a clip, in the order in which the files name them first; a clip may have several sentences or questions.

    A file that stands in a split's ``questions`` is of multiple choice, any other of clips and sentences.

    Raises:
        InputError: no split's file is there, a row of it is malformed, or a clip stands in two splits.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    template = MediaTemplate(spec, root, ("id", "movie", "split"))
    clips: dict[str, _Clip] = {}
    for name, role, path in sources.files_of(splits):
        asks = role in splits[name].questions
        rows = _choices(sources, path, role, protocol.choices) if asks else _sentences(sources, path)
        for row, identifier, said in rows:
            identifier_of(path, row, "clip_id", identifier)
            movie, underscore, _ = identifier.rpartition("_")
            if not underscore:
                raise InputError(f"{path}: row {row}: clip_id: {identifier!r:.80} has no '_' after the movie's name")
            place = template.fill(path, row, id=identifier, movie=movie, split=name)
            clip = clips.setdefault(identifier, _Clip(name, place))
            if clip.split != name:
                raise InputError(f"{path}: row {row}: clip_id: {identifier!r:.80} is in split {clip.split} already")
            clip.questions.append(said) if isinstance(said, Question) else clip.captions.append(said)
    items = [
        Item(identifier, clip.path, clip.split, "video", tuple(clip.captions), questions=tuple(clip.questions))
        for identifier, clip in clips.items()
    ]
    return Annotations(items, sources.read, absent)


def _sentences(sources: Sources, path: Path) -> Iterator[tuple[int, str, str]]:
    """Row, clip and sentence."""
    for row, values in sources.tsv_rows(path, 1 + _TIMES + 1, RAW_TSV):
        yield row, values[0], caption_of(path, row, "sentence", values[-1])


def _choices(
    sources: Sources, path: Path, role: str, choices: ChoiceSpec | None
) -> Iterator[tuple[int, str, Question]]:
    """Row, clip and question; its key is the row, from 0, for clips are asked about more than once."""
    if choices is None:
        raise InputError(
            f"{path}: multiple choice, and the protocol has no choices: {{options: N, label_base: 0 or 1}}"
        )
    first, last = choices.label_base, choices.label_base + choices.options - 1
    for place, (row, values) in enumerate(sources.tsv_rows(path, 1 + _TIMES + choices.options + 1, RAW_TSV)):
        options, answer = tuple(values[1 + _TIMES : -1]), values[-1].strip()
        for number, option in enumerate(options, start=1):
            caption_of(path, row, f"sentence {number}", option)
        if answer not in map(str, range(first, last + 1)):
            raise InputError(f"{path}: row {row}: answer: {answer!r:.80} is not an option from {first} to {last}")
        label = int(answer) - first
        yield row, values[0], Question("", options[label], MULTIPLE_CHOICE, options, label, f"{role}-{place}")
