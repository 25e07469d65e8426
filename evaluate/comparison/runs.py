"""Results that evaluations wrote, found again and read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from data_specs.configuration import build
from data_specs.errors import InputError
from evaluate.published.figures import ACCURACY, headline
from evaluate.result import Interval, MultipleChoiceResult, QuestionAnsweringResult, RetrievalResult

AnyResult: TypeAlias = RetrievalResult | MultipleChoiceResult | QuestionAnsweringResult
MODELS: dict[str, type[AnyResult]] = {
    "retrieval": RetrievalResult,
    "multiple-choice": MultipleChoiceResult,
    "question-answering": QuestionAnsweringResult,
}
NAMES = tuple(f"{task.replace('-', '_')}.json" for task in MODELS)
BELOW = ("", "report")


@dataclass(frozen=True)
class Measure:
    """A figure with its 95 % interval; None where the result gives none."""

    value: float
    interval: Interval | None = None

    @property
    def low(self) -> float:
        return self.value if self.interval is None else self.interval[0]

    @property
    def high(self) -> float:
        return self.value if self.interval is None else self.interval[1]


@dataclass(frozen=True, eq=False)
class Run:
    """A result with a name that tells it from the others. path: its JSON file."""

    label: str
    path: Path
    result: AnyResult

    @property
    def headline(self) -> Measure:
        """R@1 from text to video, or accuracy, in percent."""
        return self.measures[headline(self.result.task)]

    @property
    def measures(self) -> dict[str, Measure]:
        """What a table of such results shows, in its order."""
        result = self.result
        if isinstance(result, RetrievalResult):
            forth, back = result.text_to_video, result.video_to_text
            found = {
                name: Measure(forth.figures[name], forth.intervals[name]) for name in ("R@1", "R@5", "R@10", "MedR")
            }
            return found | {"R@1, video to text": Measure(back.figures["R@1"], back.intervals["R@1"])}
        found = {ACCURACY: Measure(result.accuracy, result.accuracy_interval)}
        if isinstance(result, MultipleChoiceResult):
            return found | {"chance": Measure(result.chance)}
        return found | {"majority answer": Measure(result.majority_accuracy)}

    @property
    def clips(self) -> int | None:
        """Clips that the model learnt from, drawn over and over, in all its runs; None where it does not say."""
        return sum(run.steps * run.batch_size for run in self.result.history) or None


def read_runs(given: Sequence[Path]) -> tuple[Run, ...]:
    """Every result in the folders (and in their ``report/``) or files that were given, in that order.

    Raises:
        InputError: one holds no result, or none that can be read, or is given twice.
    """
    found = [(run, path) for run in given for path in _results_in(run)]
    for i, (run, path) in enumerate(found):
        if path.resolve() in [other.resolve() for _, other in found[:i]]:
            raise InputError(f"{run}: {path.name} is given twice")
    labels = _labels([_parts(path) for _, path in found])
    return tuple(Run(label, path, _read(path)) for label, (_, path) in zip(labels, found, strict=True))


def _results_in(run: Path) -> list[Path]:
    if run.is_file():
        return [run]
    found = [run / below / name for name in NAMES for below in BELOW if (run / below / name).is_file()]
    if not found:
        where = "no such folder" if not run.exists() else f"none of {', '.join(NAMES)} here or in report/"
        raise InputError(
            f"{run}: {where}; python -m evaluate retrieval|multiple-choice|question-answering --out DIR writes them"
        )
    return found


def _read(path: Path) -> AnyResult:
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    task = tree.get("task") if isinstance(tree, dict) else None
    if not isinstance(task, str) or task not in MODELS:
        raise InputError(f"{path}: not a result of an evaluation: its task is {task!r}, known: {', '.join(MODELS)}")
    return build(MODELS[task], tree, str(path))


def _parts(path: Path) -> tuple[str, ...]:
    """What may name a run: its folders, and the file where that has no name that an evaluation gives."""
    whole = Path(os.path.abspath(path))
    return whole.parent.parts[1:] if whole.name in NAMES else (*whole.parent.parts[1:], whole.stem)


def _labels(named: Sequence[tuple[str, ...]]) -> list[str]:
    """The parts in which the runs differ: those that all have in front or behind are left out."""
    if len(set(named)) < 2:
        return [next((part for part in reversed(parts) if part != "report"), "run") for parts in named]
    front = _shared(named)
    back = _shared([parts[front:][::-1] for parts in named])
    return ["/".join(parts[front : len(parts) - back]) or parts[-1] for parts in named]


def _shared(rows: Sequence[tuple[str, ...]]) -> int:
    """How many parts from the front are the same in all rows."""
    return next((i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows)))
