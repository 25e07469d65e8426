"""The pictures of the page: the ladder from chance to oracle, and the curves with what they cost."""

from __future__ import annotations

from matplotlib.axes import Axes

from evaluate.drawing.paper.canvas import BLUE, INK, ORANGE, SOFT, bars, panels, plain, png
from pipelines.proof.findings import Figure, Findings, FoundCurve

_MARKS = (("o", "-", BLUE), ("s", "--", ORANGE))
_COLUMNS = 4


def ladder(found: Findings) -> bytes:
    """A PNG: R@1 of chance, bag of objects, the model before and after tuning, and the oracle."""
    steps = [
        ("chance", found.chance, None, "hollow"),
        ("bag of objects", found.bag_of_objects, found.bag_of_objects_interval, "hollow"),
        ("pre-trained, 1 frame", found.zero_shot.mean, _interval(found.zero_shot), "plain"),
        (f"tuned, {found.scale.frames} frames", found.tuned.mean, _interval(found.tuned), "plain"),
        ("oracle", found.oracle, None, "hollow"),
    ]
    figure, axes = panels([3.0], 1, "From chance to what could be known at most")
    names, values, intervals, kinds = zip(*steps, strict=True)
    bars(axes[0, 0], names, values, intervals, kinds)
    plain(axes[0, 0], f"text-to-video R@1 among {found.scale.candidates} {found.scale.judged} clips, in per cent", "x")
    return png(figure)


def curves(found: Findings) -> bytes:
    """A PNG: R@1 of each curve's points, with intervals, above what they cost."""
    rows = -(-len(found.curves) // _COLUMNS)
    figure, axes = panels([2.6, 1.3] * rows, _COLUMNS, "The published curves, in kind: R@1 and device-seconds")
    for place in range(rows * _COLUMNS):
        above, below = (axes[2 * (place // _COLUMNS) + part, place % _COLUMNS] for part in (0, 1))
        if place < len(found.curves):
            _curve(above, below, found.curves[place])
        else:
            above.axis("off")
            below.axis("off")
    return png(figure)


def _curve(above: Axes, below: Axes, curve: FoundCurve) -> None:
    labels = [point.label for point in next(iter(curve.lines.values()))]
    width = 0.6 / len(curve.lines)
    for number, ((name, points), (mark, dash, colour)) in enumerate(zip(curve.lines.items(), _MARKS, strict=False)):
        places = range(len(points))
        means = [point.recall.mean for point in points]
        low = [point.recall.mean - point.recall.low for point in points]
        high = [point.recall.high - point.recall.mean for point in points]
        above.errorbar(places, means, (low, high), fmt=mark + dash, color=colour, capsize=3, label=name or None)
        shifted = [place + (number - (len(curve.lines) - 1) / 2) * width for place in places]
        below.bar(shifted, [point.device_seconds for point in points], width, color=colour)
    plain(above, curve.title, "y")
    plain(below, "", "y")
    above.set_xticks(range(len(labels)), [])
    highest = max(point.recall.high for points in curve.lines.values() for point in points)
    above.set_ylim(0, 1.1 * max(highest, 1.0))
    below.set_xticks(range(len(labels)), labels)
    below.set_xlabel(f"{curve.axis} ({'tuned' if curve.stage == 'tune' else 'pre-trained'})", fontsize=9, color=SOFT)
    for ax in (above, below):
        ax.set_xlim(-0.5, len(labels) - 0.5)
        ax.tick_params(labelsize=8, colors=INK)
    if len(curve.lines) > 1:
        above.legend(fontsize=8, frameon=False)


def _interval(figure: Figure) -> tuple[float, float] | None:
    return (figure.low, figure.high) if len(figure.values) > 1 else None
