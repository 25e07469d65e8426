"""The published figures: read from the YAML files beside this module, checked, and chosen by task and protocol."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from data_specs.configuration import Settings, load
from data_specs.errors import InputError, did_you_mean
from data_specs.protocol import Words

Task = Literal["retrieval", "multiple-choice", "question-answering"]
PublishedSetting = Literal["tuned", "zero-shot"]
RECALLS = ("R@1", "R@5", "R@10")
ACCURACY = "accuracy"
OWN = "own"

_FOLDER = Path(__file__).parent
_METHODS, _COST = "methods.yaml", "cost.yaml"


class Method(Settings):
    """A published method. ``pretrained_on`` is empty where it saw nothing but the data set of the table."""

    year: int = Field(ge=2010, le=2100)
    paper: Words
    pretrained_on: str = ""
    note: str = ""


class Row(Settings):
    """What a table file says of one method.

    figures:  recalls and accuracy in percent, ``MedR`` a rank from 1; what was not published is absent. Retrieval is
              text-to-video.
    found_in: the paper and table that the figures were read in; ``own`` is the method's own paper.
    checked:  all the figures were seen there. Otherwise they are from memory, and whoever shows them says so.
    """

    method: Words
    figures: dict[Literal["R@1", "R@5", "R@10", "MedR", "accuracy"], Annotated[float, Field(ge=0)]]
    found_in: Words
    checked: bool
    pretrained_on: str | None = None
    note: str = ""


class TableFile(Settings):
    """One table of one file: rows that were measured in the same way."""

    task: Task
    protocol: str = Field(pattern=r"^[^/\s]+/\S+$")
    setting: PublishedSetting
    notes: str = ""
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _figures_fit_the_task(self) -> TableFile:
        first = headline(self.task)
        for row in self.rows:
            if first not in row.figures or (self.task == "retrieval") == (ACCURACY in row.figures):
                raise ValueError(f"{row.method}: {self.task} needs {first}, and has {', '.join(row.figures)}")
            shares = [row.figures[name] for name in (*RECALLS, ACCURACY) if name in row.figures]
            if shares != sorted(shares) or max(shares) > 100:
                raise ValueError(f"{row.method}: {shares} are not rising shares in percent")
            if row.figures.get("MedR", 1) < 1:
                raise ValueError(f"{row.method}: MedR {row.figures['MedR']} is not a rank from 1")
        return self


class PublishedRow(Settings):
    """A method and its figures, ready to be shown. ``pretrained_on`` and ``note`` may be empty."""

    method: str
    year: int
    paper: str
    pretrained_on: str
    figures: dict[str, float]
    found_in: str
    checked: bool
    note: str
    direction: str = "text-to-video"

    @property
    def source(self) -> str:
        """Where the figures were read, in words."""
        return "its own paper" if self.found_in == OWN else self.found_in


class PublishedTable(Settings):
    """Rows of one task, protocol and setting, in the order of the file, with what a reader must know about them."""

    task: Task
    protocol: str
    setting: PublishedSetting
    notes: str
    rows: tuple[PublishedRow, ...]


class CostRow(Settings):
    """What a pre-training of DemoVLP cost in GPU-hours (V100), and R@1 on MSR-VTT 1k-A, in percent, after tuning."""

    frames: PositiveInt
    data_percent: float = Field(gt=0, le=100)
    gpu_hours: PositiveInt
    recall_at_1: float = Field(ge=0, le=100)


class _Methods(Settings):
    methods: dict[str, Method]


class _Tables(Settings):
    tables: tuple[TableFile, ...] = Field(min_length=1)


class _Costs(Settings):
    pretraining: tuple[CostRow, ...] = Field(min_length=1)


def published(task: str, protocol: str, setting: str) -> tuple[PublishedRow, ...]:
    """The published rows of a task under our protocol name (``msrvtt/1k-A``) in a setting, ``tuned`` or ``zero-shot``.

    Empty where nothing is known, and for every other setting: such a result has nothing to stand beside.
    """
    found = published_table(task, protocol, setting)
    return found.rows if found is not None else ()


def published_table(task: str, protocol: str, setting: str) -> PublishedTable | None:
    """The same with the notes of the table; None where nothing is known."""
    wanted = (task, protocol, setting)
    return next((t for t in tables() if (t.task, t.protocol, t.setting) == wanted), None)


@functools.cache
def tables() -> tuple[PublishedTable, ...]:
    """Every table, read and checked.

    Raises:
        InputError: a file is broken, names a method that ``methods.yaml`` has not, or says one thing twice.
    """
    methods = load(_Methods, _FOLDER / _METHODS).methods
    found: dict[tuple[str, str, str], PublishedTable] = {}
    for path in sorted(_FOLDER.glob("*.yaml")):
        if path.name in (_METHODS, _COST):
            continue
        for table in load(_Tables, path).tables:
            key = (table.task, table.protocol, table.setting)
            if key in found:
                raise InputError(f"{path}: {' '.join(key)} is there already")
            rows = tuple(_resolved(row, methods, path) for row in table.rows)
            found[key] = PublishedTable(**table.model_dump(exclude={"rows"}), rows=rows)
    return tuple(found.values())


@functools.cache
def pretraining_cost() -> tuple[CostRow, ...]:
    """DemoVLP's own ablation of frames and data in pre-training, the dearest first."""
    return load(_Costs, _FOLDER / _COST).pretraining


def headline(task: str) -> str:
    """The figure that a task is judged by first."""
    return RECALLS[0] if task == "retrieval" else ACCURACY


def _resolved(row: Row, methods: dict[str, Method], path: Path) -> PublishedRow:
    if row.method not in methods:
        raise InputError(f"{path}: method {row.method!r} is not in {_METHODS}: {did_you_mean(row.method, methods)}")
    method = methods[row.method]
    return PublishedRow(
        method=row.method,
        year=method.year,
        paper=method.paper,
        pretrained_on=method.pretrained_on if row.pretrained_on is None else row.pretrained_on,
        figures=dict(row.figures),
        found_in=row.found_in,
        checked=row.checked,
        note="; ".join(filter(None, (method.note, row.note))),
    )
