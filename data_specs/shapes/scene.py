"""A scene: which coloured shapes there are and how each of them moves. A pure function of (seed, split, index).

Units: pixels and seconds; positions are ``(x, y)`` of a shape's centre, x to the right and y down.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import permutations

import numpy as np

from data_specs.errors import InputError, did_you_mean
from data_specs.manifest import SPLITS

WIDTH, HEIGHT = 192, 144
DURATION_S = 3.0
FRAMES_PER_SECOND = 10
FRAME_COUNT = round(DURATION_S * FRAMES_PER_SECOND)
MIDDLE_S = DURATION_S / 2
MOST_THINGS = 5

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
COLOURS = {
    "red": (222, 44, 40),
    "green": (44, 176, 64),
    "blue": (48, 92, 236),
    "yellow": (244, 214, 44),
    "pink": (240, 92, 200),
    "white": (244, 244, 244),
}
SIZES = {"small": 18.0, "medium": 28.0, "large": 40.0}
MOTIONS = ("left", "right", "up", "down", "still", "growing", "shrinking")
SCALING = ("growing", "shrinking")
CHANGING = tuple(motion for motion in MOTIONS if motion != "still")
OPPOSITES = {
    "left": "right", "right": "left", "up": "down", "down": "up", "still": "still",
    "growing": "shrinking", "shrinking": "growing",
}  # fmt: skip
"""What a motion is when the clip is played backwards."""
CLASS_NAMES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)

_DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
_BUCKETS = {"train": range(0, 60), "val": range(60, 80), "test": range(80, 100)}  # of 100: a scene's content decides
_TIMES = tuple(np.linspace(0.0, DURATION_S, 7))
_WAYS = (36.0, 90.0)  # pixels that things which move go at least and at most
_MARGIN = 3.0


class Purpose(Enum):
    """What a random stream is for: those of two purposes have nothing to do with each other."""

    SCENE = (0,)
    BACKGROUND = (1,)
    NOISE = (2,)
    CAPTIONS = (3, 0)
    QUESTIONS = (3, 1)
    CHOICES = (3, 2)
    QUERY = (4,)
    FAMILY = (5,)


@dataclass(frozen=True)
class Thing:
    """One shape. ``start`` and ``end`` are its centre at the clip's two ends, ``width`` its width there, both linear.

    ``size`` is its size word; for a growing or shrinking thing it is only what the width passes through.
    """

    shape: str
    colour: str
    size: str
    motion: str
    start: tuple[float, float]
    end: tuple[float, float]
    width: tuple[float, float]
    angle_degrees: float

    def centre(self, time_s: float) -> tuple[float, float]:
        """Centre (x, y) in pixels at a time."""
        share = time_s / DURATION_S
        return (
            self.start[0] + share * (self.end[0] - self.start[0]),
            self.start[1] + share * (self.end[1] - self.start[1]),
        )

    def width_at(self, time_s: float) -> float:
        """Width in pixels at a time."""
        return self.width[0] + time_s / DURATION_S * (self.width[1] - self.width[0])

    def reversed(self) -> Thing:
        """What the clip shows of it when it is played backwards."""
        return replace(
            self,
            motion=OPPOSITES[self.motion],
            start=self.end,
            end=self.start,
            width=self.width[::-1],
        )

    @property
    def name(self) -> str:
        """Colour and shape, which no other thing of its scene shares; also its class name."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What a clip shows; ``things`` are in drawing order, so a later one hides an earlier one."""

    seed: int
    split: str
    index: int
    things: tuple[Thing, ...]

    @property
    def signature(self) -> str:
        """The scene's content without positions; scenes of different splits never have the same one."""
        return signature([(t.shape, t.colour, t.size, t.motion) for t in self.things])


def class_index(shape: str, colour: str) -> int:
    """The detector class of a shape and colour: its place in ``CLASS_NAMES``."""
    return SHAPES.index(shape) * len(COLOURS) + tuple(COLOURS).index(colour)


def generator_of(seed: int, split: str, index: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """The random stream of one scene for one purpose, independent of every other scene's.

    Raises:
        InputError: no such split.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown: {did_you_mean(split, SPLITS)}")
    return np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split), index, *purpose.value, *more]))


def make_scene(seed: int, split: str, index: int) -> Scene:
    """Scene number ``index`` of a split, for ``seed`` >= 0.

    Its content (shapes, colours, sizes, motions) is drawn until a hash of it falls into the split's share, so that no
    scene can be in two splits, whatever the seeds. Every thing stays inside the frame, none is hidden for most of
    the clip, and at least one pair stands clearly above or beside each other in the middle of the clip.
    """
    rng = generator_of(seed, split, index, Purpose.SCENE)
    while True:
        content = draw_content(rng, draw_classes(rng))
        if not belongs(signature(content), split):
            continue
        things = place_all(rng, content)
        if things is not None:
            return Scene(seed, split, index, things)


def relations(a: Thing, b: Thing) -> tuple[str, ...]:
    """How ``a`` stands to ``b``, clearly, in the middle of the clip: above, below, left of, right of; at most one.

    Clear means that a gap of 4 pixels lies between them and that the direction is within about 34 degrees of an axis.
    """
    (ax, ay), (bx, by) = a.centre(MIDDLE_S), b.centre(MIDDLE_S)
    dx, dy = ax - bx, ay - by
    if max(abs(dx), abs(dy)) < (_reach(a, MIDDLE_S) + _reach(b, MIDDLE_S)) + 4:
        return ()
    if abs(dy) >= 1.5 * abs(dx):
        return ("above",) if dy < 0 else ("below",)
    if abs(dx) >= 1.5 * abs(dy):
        return ("left of",) if dx < 0 else ("right of",)
    return ()


def related(things: Sequence[Thing]) -> list[tuple[Thing, Thing, str]]:
    """Every two things of which the one stands clearly to the other, and how."""
    return [(a, b, relation) for a, b in permutations(things, 2) for relation in relations(a, b)]


def events(things: Sequence[Thing]) -> list[tuple[Thing, Thing, str]]:
    """Those of the related things of which the first does not stay still: one sentence says what it does and where."""
    return [(a, b, relation) for a, b, relation in related(things) if a.motion in CHANGING]


def possible_relations(a: Thing, b: Thing) -> tuple[str, ...]:
    """The relations somebody could still call true at some time of the clip; the others are clearly false."""
    found = []
    for time_s in _TIMES:
        (ax, ay), (bx, by) = a.centre(time_s), b.centre(time_s)
        found += ["above"] if ay < by + 4 else []
        found += ["below"] if ay > by - 4 else []
        found += ["left of"] if ax < bx + 4 else []
        found += ["right of"] if ax > bx - 4 else []
    return tuple(sorted(set(found)))


def signature(content: Iterable[tuple[str, ...]]) -> str:
    """Things in words, whatever their order."""
    return "; ".join(sorted(" ".join(words) for words in content))


def belongs(content: str, split: str) -> bool:
    """Whether a split has the scenes with this signature; exactly one split has."""
    return zlib.crc32(content.encode()) % 100 in _BUCKETS[split]


def draw_classes(rng: np.random.Generator, most: int = MOST_THINGS) -> list[tuple[str, str]]:
    """Shape and colour of 2 to ``most`` things, all different."""
    count = int(rng.integers(2, most + 1))
    numbers = rng.choice(len(CLASS_NAMES), size=count, replace=False)
    return [(SHAPES[number // len(COLOURS)], tuple(COLOURS)[number % len(COLOURS)]) for number in numbers]


def draw_content(
    rng: np.random.Generator, classes: Sequence[tuple[str, str]], one_moves: bool = False
) -> list[tuple[str, str, str, str]]:
    """Shape, colour, size and motion of things of these classes; ``one_moves``: exactly one does not stay still."""
    mover = int(rng.integers(len(classes))) if one_moves else None
    content = []
    for place, (shape, colour) in enumerate(classes):
        if mover is None:
            motion = MOTIONS[rng.integers(len(MOTIONS))]
        else:
            motion = CHANGING[rng.integers(len(CHANGING))] if place == mover else "still"
        size = "medium" if motion in SCALING else tuple(SIZES)[rng.integers(len(SIZES))]
        content.append((shape, colour, size, motion))
    return content


def place_all(
    rng: np.random.Generator, content: Sequence[tuple[str, str, str, str]], ways: tuple[float, float] = _WAYS
) -> tuple[Thing, ...] | None:
    """The things at places where none is hidden for long, and at least one pair stands clearly to each other.

    ``ways``: pixels that things which move go at least and at most, where there is room. None where no such places
    could be found.
    """
    things: list[Thing] = []
    for words in content:
        for _ in range(40):
            candidate = _place(rng, ways, *words)
            if all(_apart_enough(earlier, candidate) for earlier in things):
                things.append(candidate)
                break
        else:
            return None
    return tuple(things) if related(things) else None


def _place(
    rng: np.random.Generator, ways: tuple[float, float], shape: str, colour: str, size: str, motion: str
) -> Thing:
    width = SIZES[size] * rng.uniform(0.95, 1.05)
    widths = (width, width)
    if motion in SCALING:
        widths = (0.55 * width, 1.45 * width) if motion == "growing" else (1.45 * width, 0.55 * width)
    half = 0.6 * max(widths) + _MARGIN
    low, high = np.array([half, half]), np.array([WIDTH - half, HEIGHT - half])
    way = np.array(_DIRECTIONS.get(motion, (0.0, 0.0)))
    room = float(np.abs(way) @ (high - low))
    travel = way * rng.uniform(min(ways[0], 0.8 * room), min(ways[1], room)) if room else way
    sideways = np.where(way == 0, rng.uniform(-3, 3, 2), 0.0) if room else 0.0
    middle = rng.uniform(low + np.abs(travel) / 2, high - np.abs(travel) / 2)
    start = np.clip(middle - travel / 2, low, high)
    end = np.clip(middle + travel / 2 + sideways, low, high)
    return Thing(
        shape=shape,
        colour=colour,
        size=size,
        motion=motion,
        start=(float(start[0]), float(start[1])),
        end=(float(end[0]), float(end[1])),
        width=(float(widths[0]), float(widths[1])),
        angle_degrees=float(rng.uniform(-10, 10)),
    )


def _reach(thing: Thing, time_s: float) -> float:
    return 0.55 * thing.width_at(time_s)


def _apart_enough(under: Thing, over: Thing) -> bool:
    """Crossing is wanted, lasting overlap is not: at most a third covered mid-clip, two thirds at any time."""
    return _covered(under, over, MIDDLE_S) <= 0.33 and all(_covered(under, over, t) <= 0.66 for t in _TIMES)


def _covered(a: Thing, b: Thing, time_s: float) -> float:
    """Overlap of the two bounding squares as a share of the smaller one."""
    (ax, ay), (bx, by) = a.centre(time_s), b.centre(time_s)
    reach_a, reach_b = _reach(a, time_s), _reach(b, time_s)
    smaller = 2 * min(reach_a, reach_b)
    across = min(smaller, reach_a + reach_b - abs(ax - bx))
    down = min(smaller, reach_a + reach_b - abs(ay - by))
    return max(across, 0.0) * max(down, 0.0) / smaller**2
