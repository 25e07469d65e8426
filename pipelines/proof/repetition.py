"""Two proofs of the same scale and other seeds, figure by figure: whether the second found what the first did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from data_specs.errors import InputError
from pipelines.proof.experiments import CURVES, MAIN, Curve, full_label
from pipelines.proof.findings import Figure, Findings, FoundCurve
from pipelines.proof.scale import Scale


@dataclass(frozen=True)
class Pair:
    """A figure of both, in per cent or, of a difference, in points."""

    name: str
    first: Figure
    second: Figure

    @property
    def meet(self) -> bool:
        """Whether the intervals have a value in common."""
        return not self.first.above(self.second) and not self.second.above(self.first)

    @property
    def apart(self) -> float:
        """How far the means are."""
        return abs(self.first.mean - self.second.mean)


def read_repetition(path: Path, scale: Scale) -> Findings:
    """The findings of another run, to be compared with one at ``scale``.

    Raises:
        InputError: no findings, or not of the same scale and curves with several seeds, of which this one has none.
    """
    try:
        found = Findings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        raise InputError(
            f"{path}: not the results.json of a proof of this version ({error.error_count()} errors); take it away"
        ) from None
    same = found.scale.model_copy(update={"seeds": scale.seeds}) == scale
    if not same or [_shape(curve) for curve in found.curves] != [_shape(c) for c in CURVES if scale.curves]:
        raise InputError(f"{path}: of a proof with other settings or curves than this one's; take it away")
    if min(len(found.scale.seeds), len(scale.seeds)) < 2:
        raise InputError(f"{path}: of one seed there are no intervals to compare; take it away")
    if common := sorted({*found.scale.seeds} & {*scale.seeds}):
        named = ", ".join(map(str, common))
        raise InputError(f"{path}: has seeds of this run, too ({named}); choose others (--first-seed) or take it away")
    return found


def pairs(first: Findings, second: Findings) -> list[Pair]:
    """The journey and what was promised of it, then each point and difference of the curves once."""
    there = dict(_figures(second))
    return [Pair(name, figure, there[name]) for name, figure in _figures(first)]


def _shape(curve: Curve | FoundCurve) -> tuple[object, ...]:
    points = [(line, [(point.variant, point.label) for point in found]) for line, found in curve.lines.items()]
    return curve.name, curve.title, curve.stage, points


def _figures(found: Findings) -> Iterator[tuple[str, Figure]]:
    frames = found.scale.frames
    yield "pre-trained, R@1", found.zero_shot
    for name, figure in found.tuned_all.items():
        yield f"tuned, {name}", figure
    for part, (pretrained, tuned) in found.parts.items():
        yield f"pre-trained, R@1 by the {part} part", pretrained
        yield f"tuned, R@1 by the {part} part", tuned
    yield "multiple choice", found.choice
    yield f"questions, {frames} frames", found.answers
    yield "questions, 1 frame", found.answers_one_frame
    for kind, (many, one) in found.by_type.items():
        yield f"questions of {kind}, {frames} frames", many
        yield f"questions of {kind}, 1 frame", one
    named = {("pretrain", MAIN), ("tune", MAIN)}
    for curve in found.curves:
        for line, points in curve.lines.items():
            for point in points:
                if (curve.stage, point.variant) not in named:
                    named.add((curve.stage, point.variant))
                    yield f"{curve.title}: {full_label(point.label, line)}", point.recall
        yield f"{curve.title}: the difference", curve.difference
