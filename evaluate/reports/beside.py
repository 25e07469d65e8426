"""A result beside what papers published for the same task, protocol and setting; never beside another protocol's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data_specs.spec import load_spec, spec_names
from evaluate.protocol import DEFAULT_SPLITS
from evaluate.published.figures import headline, published_table
from evaluate.result import Evaluation, Interval, MultipleChoiceResult, QuestionAnsweringResult, RetrievalResult

OURS = "this run"


@dataclass(frozen=True)
class Line:
    """One method. figures: in percent, ``MedR`` a rank. interval: of the first figure; ours alone has one."""

    method: str
    year: int | None
    figures: Mapping[str, float]
    pretrained_on: str = ""
    source: str = ""
    note: str = ""
    checked: bool = True
    ours: bool = False
    interval: Interval | None = None


@dataclass(frozen=True)
class Beside:
    """Ours among the published, the best first. first: the figure they are ordered by. why_not: why there is none."""

    first: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: str = ""
    why_not: str = ""

    @property
    def unchecked(self) -> bool:
        """Whether a figure is from memory."""
        return any(not line.checked for line in self.lines)


def beside(result: Evaluation, figures: Mapping[str, float], interval: Interval) -> Beside:
    """The result's figures of one kind among those of the same name that papers published."""
    first = headline(result.task)
    table = published_table(result.task, result.protocol, result.setting)
    why_not = _other_protocol(result, known=table is not None)
    if why_not or table is None:
        return Beside(first, (), (), why_not=why_not)
    columns = tuple(name for name in figures if any(name in row.figures for row in table.rows))
    ours = Line(OURS, None, {name: figures[name] for name in columns}, ours=True, interval=interval)
    theirs = [
        Line(row.method, row.year, row.figures, row.pretrained_on, row.source, row.note, row.checked)
        for row in table.rows
    ]
    lines = sorted([ours, *theirs], key=lambda line: (-line.figures[first], not line.ours, line.method))
    return Beside(first, columns, tuple(lines), table.notes)


def _other_protocol(result: Evaluation, known: bool) -> str:
    """Why published figures are of another protocol than this result's; nothing where they are of the same."""
    if result.setting not in ("zero-shot", "tuned"):
        return f"papers report zero-shot and tuned models, and this one's setting is {result.setting!r}"
    if result.splits != DEFAULT_SPLITS:
        return f"papers report the test split, and this is {'+'.join(result.splits)}"
    if not known:
        return f"no figures of papers are known here for {result.protocol}, {result.setting}"
    dataset, _, protocol = result.protocol.partition("/")
    if dataset not in spec_names():
        return ""
    _, spec = load_spec(dataset).protocol(protocol or None)
    split = spec.splits[spec.candidates]
    if isinstance(result, RetrievalResult):
        if spec.queries != result.queries_rule:
            return f"the protocol's queries are {spec.queries!r}, and this result's {result.queries_rule!r}"
        return _of_other_size("videos", split.videos, result.videos_planned)
    asked = result.questions_planned if isinstance(result, MultipleChoiceResult | QuestionAnsweringResult) else None
    return _of_other_size("questions", split.question_count, asked)


def _of_other_size(what: str, full: int | None, planned: int | None) -> str:
    if None in (full, planned) or full == planned:
        return ""
    return f"the full protocol has {full} {what}, and the manifest of this result {planned}"
