"""Families of clips that show the same things: what tells them apart is size, place, relation and motion.

In each clip one thing moves, beside others that stay where they are. A family is four scenes: one, the same played
backwards, and another one of the same things, again both ways. So

- a bag of objects cannot tell the four apart;
- the middle frames of a scene and of its reverse are the same, while what moves in them goes the other way: whoever
  sees only that frame, and is asked where it moves, is right at most once for the two of them.
"""

from __future__ import annotations

from typing import Literal

from data_specs.errors import InputError
from data_specs.shapes.scene import (
    Scene,
    Thing,
    belongs,
    draw_classes,
    draw_content,
    events,
    generator_of,
    place_all,
    signature,
)

FAMILY = 4
VERSION: Literal[3] = 3
"""Another one where the same seed gives other scenes or words."""
MOST_THINGS = 3
"""Fewer than in other clips: with 5, four thousand clips are learnt by heart sooner than what motion is."""
LONG_WAYS = (112.0, 160.0)
"""Through most of the frame: late in a clip a thing that moves right is on the right, as one that grows is large."""
_FAMILY = 5  # purpose of a random stream


def make_family(seed: int, split: str, number: int) -> tuple[Scene, ...]:
    """Family ``number`` of a split: scenes 4 * number to 4 * number + 3, each odd one the reverse of that before it.

    The classes of the things decide the split, so that no two splits have a family of the same things.
    """
    rng = generator_of(seed, split, number, _FAMILY)
    while True:
        classes = draw_classes(rng, MOST_THINGS)
        if not belongs(signature(classes), split):
            continue
        drawn = [place_all(rng, draw_content(rng, classes, one_moves=True), LONG_WAYS) for _ in range(FAMILY // 2)]
        told = [way for forth in drawn if forth and events(forth) for way in (forth, backwards(forth))]
        if len(told) == FAMILY:
            return tuple(Scene(seed, split, FAMILY * number + n, things) for n, things in enumerate(told))


def make_families(seed: int, split: str, clips: int) -> list[Scene]:
    """The first ``clips`` scenes of a split.

    Raises:
        InputError: they are no whole number of families.
    """
    if clips % FAMILY:
        raise InputError(f"split {split}: {clips} clips are no whole families of {FAMILY}")
    return [scene for number in range(clips // FAMILY) for scene in make_family(seed, split, number)]


def backwards(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """The same clip played backwards."""
    return tuple(thing.reversed() for thing in things)
