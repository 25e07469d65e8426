"""Answer vocabularies of open-ended questions: read or counted, and how much of the answers they cover."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_specs import atomic
from data_specs.annotations.sources import Sources
from data_specs.errors import InputError
from data_specs.manifest import Item
from data_specs.protocol import AnswerSpec
from data_specs.vocabulary import answers_by_label, answers_by_line


@dataclass(frozen=True)
class Coverage:
    """How many of a split's open-ended questions have an answer that the vocabulary holds."""

    covered: int
    asked: int

    @property
    def percent(self) -> float:
        """In percent; 0 where nothing is asked."""
        return 100 * self.covered / self.asked if self.asked else 0.0


def vocabulary(spec: AnswerSpec, items: Iterable[Item], sources: Sources) -> tuple[str, ...]:
    """The answers in the order of their labels, from the spec's file or counted in ``items``.

    Equally frequent answers stand in the order of their text, so that the same questions give the same labels.

    Raises:
        InputError: the file is missing or malformed, or there is nothing to count.
    """
    if spec.file is not None:
        return read_vocabulary(sources, sources.require(spec.file))
    counted = most_frequent(open_answers(item for item in items if item.split in spec.of), spec.most_frequent)
    if not counted:
        splits = " and ".join(spec.of)
        raise InputError(
            f"{sources.root}: no open-ended question in split {splits}, whose answers {sources.spec.name} counts"
        )
    return counted


def open_answers(items: Iterable[Item]) -> Iterator[str]:
    """The answers of all open-ended questions about the items."""
    return (question.answer for item in items for question in item.questions if not question.options)


def most_frequent(answers: Iterable[str], most: int | None = None) -> tuple[str, ...]:
    """So many of the most frequent answers (None: all), equally frequent ones in the order of their text."""
    counts = Counter(answers)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:most])


def write_vocabulary(path: Path, answers: Sequence[str]) -> None:
    """Writes answers as ``read_vocabulary`` reads them: a ``.json`` object of answer to label, else one a line.

    Raises:
        InputError: an answer does not make a line.
    """
    if path.suffix == ".json":
        labels = {answer: label for label, answer in enumerate(answers)}
        atomic.write_text(path, json.dumps(labels, ensure_ascii=False, indent=1) + "\n")
        return
    for answer in answers:
        if answer.splitlines() != [answer] or not answer.strip():
            raise InputError(f"{path}: {answer!r} does not make a line; write a .json file")
    atomic.write_text(path, "".join(f"{answer}\n" for answer in answers))


def read_vocabulary(sources: Sources, path: Path) -> tuple[str, ...]:
    """Answers of a ``.json`` file (an object of answer to label) or of a text file (line index = label), by label.

    Raises:
        InputError: an answer or label occurs twice, a label is left out, or a line is blank.
    """
    if path.suffix == ".json":
        return answers_by_label(path, sources.json(path))
    return answers_by_line(path, sources.lines(path))


def labelled(items: Iterable[Item], answers: Sequence[str]) -> list[Item]:
    """The items with the label of each open-ended question set: its answer's place in ``answers``, -1 outside them."""
    labels = {answer: label for label, answer in enumerate(answers)}
    return [
        replace(
            item,
            questions=tuple(q if q.options else replace(q, label=labels.get(q.answer, -1)) for q in item.questions),
        )
        for item in items
    ]


def coverage(items: Iterable[Item]) -> Mapping[str, Coverage]:
    """Split to its coverage, for items whose questions are labelled; a split without questions is left out."""
    asked: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    for item in items:
        labels = [question.label for question in item.questions if not question.options]
        asked[item.split] += len(labels)
        covered[item.split] += sum(label >= 0 for label in labels)
    return {split: Coverage(covered[split], count) for split, count in asked.items() if count}
