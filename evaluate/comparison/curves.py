"""Curves of accuracy: against frames, against regions, and against the clips that the models learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluate.comparison.groups import Group, differences
from evaluate.comparison.runs import Run
from evaluate.published.figures import ACCURACY, headline

NAMES = {"R@1": "R@1, text to video (%)", ACCURACY: "Accuracy (%)"}


@dataclass(frozen=True)
class Point:
    """One run: ``y`` in percent with its 95 % interval."""

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Curve:
    """Runs that differ in x, by rising x. joined: no two share an x, so a line between them means something."""

    name: str
    points: tuple[Point, ...]
    joined: bool


@dataclass(frozen=True)
class Chart:
    """Curves over one axis. caption: what else differs between the runs."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    logarithmic: bool
    caption: str


def short_number(value: float) -> str:
    """``8``, ``30``, ``1.3M``: for an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.3g}{letter}"
    return f"{value:g}"


def charts(group: Group) -> tuple[Chart, ...]:
    """Those that the group's runs allow: a chart needs at least two different values of x on one curve."""
    drawn = (
        _chart(group, "frames", lambda run: run.result.frames, lambda run: f"{run.result.regions} regions a frame"),
        _chart(
            group,
            "regions a frame",
            lambda run: run.result.regions,
            lambda run: f"{run.result.frames} frame{'s' * (run.result.frames != 1)}",
        ),
        _chart(group, "clips learnt from", lambda run: run.clips, _size),
    )
    return tuple(chart for chart in drawn if chart is not None)


def _chart(group: Group, axis: str, x_of: Callable[[Run], int | None], rest: Callable[[Run], str]) -> Chart | None:
    series: dict[tuple[str, ...], list[tuple[int, Run]]] = {}
    for run in group.runs:
        x = x_of(run)
        if x is not None:
            series.setdefault((rest(run), run.result.setting, run.result.score), []).append((x, run))
    kept = {parts: runs for parts, runs in series.items() if len({x for x, _ in runs}) > 1}
    if not kept:
        return None
    shown = [run for runs in kept.values() for _, run in runs]
    largest = max(x for runs in kept.values() for x, _ in runs)
    least = min(x for runs in kept.values() for x, _ in runs)
    return Chart(
        title=f"{NAMES[headline(group.key.task)]} against {axis}",
        x_label=axis,
        y_label=NAMES[headline(group.key.task)],
        curves=tuple(_curve(name, runs) for name, runs in _named(kept).items()),
        logarithmic=largest >= 20 * least,
        caption=_caption(shown, axis),
    )


def _curve(name: str, runs: list[tuple[int, Run]]) -> Curve:
    points = [
        Point(x, run.headline.value, run.headline.low, run.headline.high, run.label)
        for x, run in sorted(runs, key=lambda pair: pair[0])
    ]
    return Curve(name, tuple(points), joined=len({point.x for point in points}) == len(points))


def _named(series: dict[tuple[str, ...], list[tuple[int, Run]]]) -> dict[str, list[tuple[int, Run]]]:
    """Curves by the parts of their names that not all of them share; by the first part where there is one curve."""
    parts = list(series)
    differ = [len(set(column)) > 1 for column in zip(*parts, strict=True)] if len(parts) > 1 else [True, False, False]
    return {
        " · ".join(part for part, differs in zip(key, differ, strict=True) if differs and part): runs
        for key, runs in series.items()
    }


def _caption(runs: list[Run], axis: str) -> str:
    also = differences(runs)
    if not also:
        return f"The runs differ in {axis} alone, as far as their results say."
    return f"Beside {axis}, the runs differ in: {', '.join(also)}."


def _size(run: Run) -> str:
    return f"{run.result.frames} frame{'s' * (run.result.frames != 1)} × {run.result.regions} regions"
