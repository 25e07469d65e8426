"""What the proof runs: one journey from clips to figures for each seed, and the published curves around it.

A variant changes some keys of the pre-training and of the tuning; what it does not change it shares with the journey.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_specs.shapes.families import MOST_THINGS

MAIN, ONE_FRAME = "main", "frames-1"
Stage = Literal["pretrain", "tune"]


@dataclass(frozen=True)
class Variant:
    """A point of a curve. pretrain, tune: dotted keys that it changes. random: it reads so many regions a frame, chosen
    at random, in place of the most confident ones.

    tuned: whether it is tuned, too; else only the pre-trained model is looked at. ranks: of the pre-training.
    """

    name: str
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Any] = field(default_factory=dict)
    random: int | None = None
    tuned: bool = False
    ranks: int = 1

    @property
    def pretrained(self) -> str:
        """The variant whose pre-training this one has: its own, or the journey's, from which it does not differ."""
        return self.name if self.pretrain or self.random is not None or self.ranks > 1 else MAIN


@dataclass(frozen=True)
class Point:
    """A variant, and what it is called on the axis."""

    variant: str
    label: str


def full_label(label: str, line: str) -> str:
    """What a point is called among those of all lines; a line without a name is alone."""
    return f"{label}, {line}" if line else label


@dataclass(frozen=True)
class Curve:
    """Lines of points, each line with a name. stage: whose figures are compared. axis: what is changed.

    published: what the paper shows of it, in words; ``better`` and ``worse`` are the variants of which it says so, and
    with ``alike`` it says that there is little between them.
    """

    name: str
    title: str
    axis: str
    stage: Stage
    lines: Mapping[str, tuple[Point, ...]]
    published: str
    better: str
    worse: str
    alike: bool = False

    @property
    def compared(self) -> str:
        """What the two points are called of which the paper says something."""
        called = {p.variant: full_label(p.label, line) for line, points in self.lines.items() for p in points}
        return f"{called[self.better]} against {called[self.worse]}"


def _regions(count: int) -> Mapping[str, Any]:
    return {"data.regions": count}


SEEN = MOST_THINGS  # regions a frame that the journey's model reads
REGIONS, RANDOM, FRAMES = (5, 10, 20, 30), (1, SEEN, 10), (1, 2, 4)
VARIANTS = (
    Variant(MAIN, tuned=True),
    Variant(ONE_FRAME, {}, {"data.frames": 1}, tuned=True),
    Variant("global-only", {"loss.local_weight": 0}),
    Variant("local-only", {"loss.global_weight": 0}),
    *(Variant(f"frames-{count}", {}, {"data.frames": count}, tuned=True) for count in FRAMES[1:]),
    Variant("pretrain-4-frames", {"data.frames": 4}, tuned=True),
    *(Variant(f"regions-{count}", _regions(count)) for count in (1, *REGIONS)),
    *(Variant(f"random-{count}", _regions(count), random=count) for count in RANDOM),
    Variant("data-20", {"data.subset": 0.2}),
    Variant("data-50", {"data.subset": 0.5}),
    Variant("boxes-6", {"model.box_dim": 6}),
    Variant("boxes-0", {"model.box_dim": 0}),
    Variant("gather", ranks=2),
    Variant("no-gather", {"loss.gather": False}, ranks=2),
)
CURVES = (
    Curve(
        "loss", "Global and local loss", "objective", "pretrain",
        {"": (Point("global-only", "global"), Point("local-only", "local"), Point(MAIN, "both"))},
        "region-word alignment beside the global loss is what the method adds, and it helps", MAIN, "global-only",
    ),
    Curve(
        "regions", "Regions a frame", "regions", "pretrain",
        {"": (Point("regions-1", "1"), Point(MAIN, str(SEEN)), *(Point(f"regions-{n}", str(n)) for n in REGIONS))},
        "more regions are better, up to about 30", "regions-30", "regions-1",
    ),
    Curve(
        "frames", "Frames in tuning", "frames", "tune",
        {"": (*(Point(f"frames-{n}", str(n)) for n in FRAMES), Point(MAIN, "8"))},
        "more frames are better", MAIN, ONE_FRAME,
    ),
    Curve(
        "pretrain-frames", "Frames in pre-training", "frames", "tune",
        {"": (Point(MAIN, "1"), Point("pretrain-4-frames", "4"))},
        "1 frame does as well as 4, at half of the cost (36.0 and 36.3)", MAIN, "pretrain-4-frames", alike=True,
    ),
    Curve(
        "data", "Share of the data", "per cent", "pretrain",
        {"": (Point("data-20", "20"), Point("data-50", "50"), Point(MAIN, "100"))},
        "a fifth of the data loses little (34.6 of 36.0), half of it nothing", MAIN, "data-20",
    ),
    Curve(
        "selection", "Which regions", "regions", "pretrain",
        {
            "most confident": (Point("regions-1", "1"), Point(MAIN, str(SEEN)), Point("regions-10", "10")),
            "at random": tuple(Point(f"random-{n}", str(n)) for n in RANDOM),
        },
        "the most confident regions are better than as many at random", MAIN, f"random-{SEEN}",
    ),
    Curve(
        "boxes", "Boxes", "numbers a box", "pretrain",
        {"": (Point("boxes-0", "none"), Point("boxes-6", "6"), Point(MAIN, "7"))},
        "where a region is tells something; whether its area is given, too, does not matter", MAIN, "boxes-0",
    ),
    Curve(
        "gather", "Negatives of two ranks", "negatives", "pretrain",
        {"": (Point("no-gather", "of each rank"), Point("gather", "of both"))},
        "the released code takes those of each rank; more negatives are expected to help", "gather", "no-gather",
    ),
)  # fmt: skip
