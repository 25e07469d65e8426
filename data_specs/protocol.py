"""A protocol as data: which videos, which captions ask, which answers count, and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_specs.configuration import Settings

SplitName = Literal["train", "val", "test"]
Task = Literal["retrieval", "question-answering", "multiple-choice", "pretraining"]
Words = Annotated[str, Field(min_length=1)]


class SplitSpec(Settings):
    """A split of a protocol.

    videos, caption_count, question_count: how many rows, captions and questions there should be in the full data set
               (None: as many as there are). Captions count as the manifest holds them: chosen or joined.
    files:     annotation files that say which videos these are, by role; they must be there.
    optional:  the whole split is left out of the manifest, and named, where its ``files`` are absent.
    captions:  ``all`` keeps a video's captions in the annotation file's order, ``chosen`` keeps the one query that the
               split's ``choice`` files name, ``none`` keeps none and reads no caption file.
    choice:    those files; any one is enough, and those that are present must agree.
    questions: files whose questions are attached to this split's videos, and to no other's; those that do not stand in
               ``files`` too may be absent.
    """

    videos: int | None = Field(default=None, ge=1)
    caption_count: int | None = Field(default=None, ge=0)
    question_count: int | None = Field(default=None, ge=0)
    files: tuple[Words, ...] = ()
    optional: bool = False
    captions: Literal["all", "chosen", "none"] = "all"
    choice: tuple[Words, ...] = ()
    questions: tuple[Words, ...] = ()

    @model_validator(mode="after")
    def _choice_where_chosen(self) -> SplitSpec:
        if (self.captions == "chosen") != bool(self.choice):
            raise ValueError("captions: chosen and choice: [files] come together")
        if self.optional and not self.files:
            raise ValueError("optional: true needs files: which files' absence leaves the split out?")
        return self


class AnswerSpec(Settings):
    """The answer vocabulary of open-ended questions; a question whose answer is not in it counts as wrong.

    file:          role of the file that lists it: a JSON object of answer to label, or a text file with one answer a
                   line, whose label is the line's index from 0.
    most_frequent: or so many of the most frequent answers of ``of`` (equal counts: in the order of the text).
    of:            splits whose answers are counted.
    size:          how many answers there should be (None: as many as there are).
    coverage:      percent of a split's questions whose answer is in the vocabulary, in the full data set.
    """

    file: Words | None = None
    most_frequent: int | None = Field(default=None, ge=1)
    of: tuple[SplitName, ...] = ("train",)
    size: int | None = Field(default=None, ge=1)
    coverage: dict[SplitName, Annotated[float, Field(ge=0, le=100)]] = Field(default={})

    @model_validator(mode="after")
    def _one_source(self) -> AnswerSpec:
        if (self.file is None) == (self.most_frequent is None):
            raise ValueError("give one of file: ROLE and most_frequent: N")
        return self


class ChoiceSpec(Settings):
    """Multiple choice: how many options a row has, and whether the file counts them from 0 or from 1.

    The manifest's label always counts from 0.
    """

    options: int = Field(ge=2)
    label_base: Literal[0, 1]


class ProtocolSpec(Settings):
    """A way to score the data set.

    task:       what is scored; the command of ``python -m evaluate`` has the same name.
    reported:   whether this is the protocol that the papers report for the task.
    queries:    retrieval: a video asks with its first caption, or with all of them, each a query of its own; then from
                video to text the best rank among the video's captions counts.
    joined_by:  several captions of a video become one, with this text between them (paragraph retrieval).
    candidates: the split whose videos are ranked, or whose questions are scored.
    ties:       equal scores: the expected rank over all their orders.
    answers:    the vocabulary of open-ended questions.
    choices:    the form of multiple-choice rows.
    splits_as:  other protocols in which no clip is in another split than here; what was learnt under one of them can be
                told from what is asked here by the names of the splits.
    ids:        role of the file that maps the question files' numbers to ids.
    """

    title: Words
    task: Task = "retrieval"
    reported: bool = False
    queries: Literal["first", "all"] = "all"
    joined_by: str | None = None
    candidates: SplitName = "test"
    ties: Literal["expected"] = "expected"
    answers: AnswerSpec | None = None
    choices: ChoiceSpec | None = None
    splits_as: tuple[Words, ...] = ()
    ids: Words | None = None
    splits: dict[SplitName, SplitSpec] = Field(min_length=1)
    notes: str = ""

    @model_validator(mode="after")
    def _splits_and_task_agree(self) -> ProtocolSpec:
        if self.candidates not in self.splits:
            raise ValueError(f"candidates: {self.candidates!r} is none of the splits {', '.join(self.splits)}")
        if self.task == "question-answering" and self.answers is None:
            raise ValueError("task: question-answering needs answers: {file: ROLE} or {most_frequent: N}")
        if self.task == "multiple-choice" and self.choices is None:
            raise ValueError("task: multiple-choice needs choices: {options: N, label_base: 0 or 1}")
        for split in (*self.answers.of, *self.answers.coverage) if self.answers is not None else ():
            if split not in self.splits:
                raise ValueError(f"answers: {split!r} is none of the splits {', '.join(self.splits)}")
        return self

    def roles(self) -> Iterator[tuple[str, str]]:
        """Every file role that the protocol names, with the key that names it."""
        for name, split in self.splits.items():
            for role in (*split.files, *split.choice, *split.questions):
                yield f"splits.{name}", role
        if self.ids is not None:
            yield "ids", self.ids
        if self.answers is not None and self.answers.file is not None:
            yield "answers.file", self.answers.file
