"""What a proof found: figures of all seeds with their intervals, and whether they are what was promised."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_specs.configuration import Settings
from pipelines.proof.experiments import CURVES, MAIN, ONE_FRAME, Curve, full_label
from pipelines.proof.layout import Layout
from pipelines.proof.scale import Scale

R1 = "R@1"
_STUDENT_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Two-sided 95 % quantiles of Student's t, by degrees of freedom."""


class Figure(Settings):
    """Values of the seeds in percent, their mean, and its 95 % interval (Student's t; none of one seed)."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Of at least one value."""
        count, mean = len(values), math.fsum(values) / len(values)
        if count == 1:
            return cls(values=tuple(values), mean=mean, low=mean, high=mean)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
        half = _STUDENT_95[count - 1] * spread / math.sqrt(count)
        return cls(values=tuple(values), mean=mean, low=mean - half, high=mean + half)

    def above(self, other: Figure) -> bool:
        """Whether the intervals do not meet and this one is the higher."""
        return self.low > other.high

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if len(self.values) == 1 else f"{self.mean:.1f} ({self.low:.1f} to {self.high:.1f})"


class FoundPoint(Settings):
    """A point of a curve: text-to-video R@1, and what its training took."""

    variant: str
    label: str
    recall: Figure
    device_seconds: float


class FoundCurve(Settings):
    """A curve. verdict: whether the difference that the paper shows is there."""

    name: str
    title: str
    axis: str
    stage: str
    lines: dict[str, tuple[FoundPoint, ...]]
    published: str
    verdict: Literal["agrees", "within the intervals", "contradicts"]
    difference: Figure

    @property
    def best(self) -> str:
        """What the point with the highest mean is called."""
        found = [(point.recall.mean, full_label(point.label, line)) for line, p in self.lines.items() for point in p]
        return max(found)[1]


class Check(Settings):
    """Something that was promised. needed, found: in the same unit; ``holds`` compares the mean."""

    promise: str
    needed: float
    found: Figure
    holds: bool
    unit: str = "%"


class Findings(Settings):
    """Everything that the page shows. core_minutes: what it took, by package. parts: text-to-video R@1 of the journey's
    models, before and after tuning, where one part of the score alone ranks."""

    scale: Scale
    machine: str
    core_minutes: dict[str, float]
    chance: float
    bag_of_objects: float
    bag_of_objects_interval: tuple[float, float]
    oracle: float
    oracle_choice: float
    oracle_answers: float
    zero_shot: Figure
    tuned: Figure
    parts: dict[str, tuple[Figure, Figure]]
    tuned_all: dict[str, Figure]
    choice: Figure
    answers: Figure
    answers_one_frame: Figure
    majority: float
    by_type: dict[str, tuple[Figure, Figure]]
    device_seconds: dict[str, float]
    checks: tuple[Check, ...]
    curves: tuple[FoundCurve, ...]


@dataclass(frozen=True)
class Reader:
    """Reads what the pieces of work of a finished proof wrote."""

    at: Layout
    scale: Scale

    def findings(self, machine: str, core_minutes: dict[str, float]) -> Findings:
        """Everything; figures are read from the files alone."""
        oracle = _json(self.at.baselines / "oracle.json")
        bag = _json(self.at.baselines / "bag_of_objects.json")["retrieval"]["text_to_video"]
        tuned = self._all("tune", MAIN, "retrieval")
        answers, single = (self._all("answer", name, "question_answering") for name in (MAIN, ONE_FRAME))
        types = [group["name"] for group in answers[0]["by_answer_type"]]
        by_type = {name: (Figure.of(_of_type(answers, name)), Figure.of(_of_type(single, name))) for name in types}
        return self._checked(
            scale=self.scale,
            machine=machine,
            core_minutes=core_minutes,
            chance=bag["chance"][R1],
            bag_of_objects=bag["figures"][R1],
            bag_of_objects_interval=bag["intervals"][R1],
            oracle=_recall(oracle["retrieval"]),
            oracle_choice=oracle["multiple_choice"],
            oracle_answers=oracle["question_answering"],
            zero_shot=self._recalls("pretrain", MAIN),
            tuned=self._recalls("tune", MAIN),
            parts={
                part: (self._recalls("pretrain", MAIN, part), self._recalls("tune", MAIN, part))
                for part in ("global", "local")
            },
            tuned_all={
                name: Figure.of([found["text_to_video"]["figures"][name] for found in tuned])
                for name in tuned[0]["text_to_video"]["figures"]
            },
            choice=Figure.of([found["accuracy"] for found in self._all("tune", MAIN, "multiple_choice")]),
            answers=Figure.of([found["accuracy"] for found in answers]),
            answers_one_frame=Figure.of([found["accuracy"] for found in single]),
            majority=answers[0]["majority_accuracy"],
            by_type=by_type,
            device_seconds={
                stage: self._seconds(stage, MAIN) for stage in ("pretrain", "tune", "answer")
            },
            curves=tuple(self._curve(curve) for curve in CURVES) if self.scale.curves else (),
        )  # fmt: skip

    def _checked(self, **found: Any) -> Findings:
        if self.scale.judged == "train":
            promise = "training clips known by heart: R@1 at least 90 % of the oracle's"
            return Findings(checks=(_check(promise, 0.9 * found["oracle"], found["tuned"]),), **found)
        zero_shot, tuned, motion = found["zero_shot"], found["tuned"], found["by_type"].get("motion")
        checks = [
            _check("zero-shot R@1 at least 50 times chance", 50 * found["chance"], zero_shot),
            _check("tuned R@1 at least twice that of the bag of objects", 2 * found["bag_of_objects"], tuned),
            _check("tuned R@1 at least 60 % of the oracle's", 0.6 * found["oracle"], tuned),
            _check("multiple choice at least 90 % of the oracle's", 0.9 * found["oracle_choice"], found["choice"]),
        ]
        if motion is not None:
            eight, one = motion
            gain = Figure.of([a - b for a, b in zip(eight.values, one.values, strict=True)])
            checks.append(_check("motion questions: all frames at least 25 points above 1 frame", 25.0, gain, "points"))
        loss = next((curve for curve in found["curves"] if curve.name == "loss"), None)
        if loss is not None:
            points = {point.variant: point.recall for line in loss.lines.values() for point in line}
            both, alone = points[MAIN], points["global-only"]
            promise = "pre-trained: global + local above global alone, outside the intervals"
            checks.append(Check(promise=promise, needed=alone.high, found=both, holds=both.above(alone)))
        return Findings(checks=tuple(checks), **found)

    def _curve(self, curve: Curve) -> FoundCurve:
        lines = {
            name: tuple(
                FoundPoint(
                    variant=point.variant, label=point.label, recall=self._recalls(curve.stage, point.variant),
                    device_seconds=self._cost(curve.stage, point.variant),
                )
                for point in points
            )
            for name, points in curve.lines.items()
        }  # fmt: skip
        better, worse = (self._recalls(curve.stage, name) for name in (curve.better, curve.worse))
        difference = Figure.of([a - b for a, b in zip(better.values, worse.values, strict=True)])
        return FoundCurve(
            name=curve.name, title=curve.title, axis=curve.axis, stage=curve.stage, lines=lines,
            published=curve.published, verdict=_verdict(difference, curve.alike), difference=difference,
        )  # fmt: skip

    def _recalls(self, stage: str, variant: str, part: str | None = None) -> Figure:
        """part: global or local, where that part of the score alone ranks."""
        found = self._all(stage, variant, "retrieval")
        return Figure.of([_recall(both if part is None else both[f"{part}_alone"]) for both in found])

    def _cost(self, stage: str, variant: str) -> float:
        """Device-seconds of a training and of what it started from, the mean of the seeds."""
        before = 0.0
        if stage == "tune":
            own = self.at.run("pretrain", variant, self.scale.seeds[0]).is_dir()
            before = self._seconds("pretrain", variant if own else MAIN)
        return before + self._seconds(stage, variant)

    def _seconds(self, stage: str, variant: str) -> float:
        spent = []
        for seed in self.scale.seeds:
            lines = (self.at.run(stage, variant, seed) / "metrics.jsonl").read_text().splitlines()
            steps = [line for line in map(json.loads, lines) if "device_hours" in line]
            spent.append(3600 * steps[-1]["device_hours"])
        return sum(spent) / len(spent)

    def _all(self, stage: str, variant: str, task: str) -> list[dict[str, Any]]:
        return [_json(self.at.report(stage, variant, seed) / f"{task}.json") for seed in self.scale.seeds]


def _verdict(difference: Figure, alike: bool) -> Literal["agrees", "within the intervals", "contradicts"]:
    apart = difference.low > 0 or difference.high < 0
    if alike:
        return "contradicts" if apart else "agrees"
    if not apart:
        return "within the intervals"
    return "agrees" if difference.low > 0 else "contradicts"


def _check(promise: str, needed: float, found: Figure, unit: str = "%") -> Check:
    return Check(promise=promise, needed=needed, found=found, holds=found.mean >= needed, unit=unit)


def _recall(both_ways: dict[str, Any]) -> float:
    return float(both_ways["text_to_video"]["figures"][R1])


def _of_type(results: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [next(g["accuracy"] for g in found["by_answer_type"] if g["name"] == name) for found in results]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())
