"""A reader of sentences about a clip that knows only their words and the true boxes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import CLASS_NAMES, COLOURS, SHAPES, Scene, make_scene

SCENES = [make_scene(11, split, index) for split in ("train", "test") for index in range(20)]

MOTIONS = {
    "left": ["moves left", "drifts to the left", "slides towards the left side"],
    "right": ["moves right", "drifts to the right", "slides towards the right side"],
    "up": ["moves up", "rises", "climbs towards the top"],
    "down": ["moves down", "sinks", "falls towards the bottom"],
    "still": ["stays still", "does not move", "rests in its place"],
    "growing": ["becomes larger and larger", "gets bigger", "grows"],
    "shrinking": ["becomes smaller and smaller", "gets smaller", "shrinks"],
}
RELATIONS = {
    "above": ["above"],
    "below": ["below", "under"],
    "left": ["to the left of", "left of"],
    "right": ["to the right of", "right of"],
}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}
NOUN = re.compile(rf"\ba (?:(small|medium|large) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")


@dataclass
class Seen:
    """Boxes of a clip's things by class name: float [3, 4] at the start, in the middle and at the end."""

    boxes: dict[str, np.ndarray]

    @classmethod
    def of(cls, scene: Scene) -> Seen:
        truths = [render_frame(scene, time_s) for time_s in (0.0, 1.5, 3.0)]
        names = [CLASS_NAMES[label] for label in truths[0].labels]
        return cls({name: np.array([t.boxes[n] for t in truths]) for n, name in enumerate(names)})

    def centre(self, name: str, moment: int) -> np.ndarray:
        box = self.boxes[name][moment]
        return (box[:2] + box[2:]) / 2

    def width(self, name: str, moment: int) -> float:
        box = self.boxes[name][moment]
        return float(max(box[2] - box[0], box[3] - box[1]))

    def size(self, name: str) -> str:
        width = self.width(name, 1)
        return "small" if width < 23.5 else "medium" if width < 35 else "large"

    def motion(self, name: str) -> str:
        ratio = self.width(name, 2) / self.width(name, 0)
        if abs(ratio - 1) > 0.5 or ratio < 0.6:
            return "growing" if ratio > 1 else "shrinking"
        dx, dy = self.centre(name, 2) - self.centre(name, 0)
        if max(abs(dx), abs(dy)) < 2:
            return "still"
        if abs(dx) > abs(dy):
            return "left" if dx < 0 else "right"
        return "up" if dy < 0 else "down"

    def relation(self, a: str, b: str) -> str:
        dx, dy = self.centre(a, 1) - self.centre(b, 1)
        if abs(dx) > abs(dy):
            return "left" if dx < 0 else "right"
        return "above" if dy < 0 else "below"


def starts_with(text: str, phrases: dict[str, list[str]]) -> tuple[str | None, str]:
    """The meaning whose phrase ``text`` starts with, and what follows."""
    for meaning, ways in phrases.items():
        for way in sorted(ways, key=len, reverse=True):
            if text.startswith(way):
                return meaning, text[len(way) :]
    return None, text


def is_true(sentence: str, seen: Seen) -> bool:
    """Reads a sentence from left to right; every part of it must be understood."""
    nouns = list(NOUN.finditer(sentence))
    assert nouns, sentence
    start = sentence[: nouns[0].start()].strip()
    count = re.match(r"(\w+) shapes are shown", start)
    if count and NUMBERS[count[1]] != len(seen.boxes):
        return False
    allowed = ("", "there is", "the video shows", "we see", "over a grey background", "in this clip")
    assert count or start in allowed, sentence
    names = [f"{noun[2]} {noun[3]}" for noun in nouns]
    if any(name not in seen.boxes for name in names):
        return False
    for place, (noun, name) in enumerate(zip(nouns, names, strict=True)):
        if noun[1] and noun[1] != seen.size(name):
            return False
        end = nouns[place + 1].start() if place + 1 < len(nouns) else len(sentence)
        rest = sentence[noun.end() : end].strip().removeprefix("that ")
        motion, rest = starts_with(rest, MOTIONS)
        if motion and motion != seen.motion(name):
            return False
        relation, rest = starts_with(rest.lstrip(", "), RELATIONS)
        if relation and relation != seen.relation(name, names[place + 1]):
            return False
        assert rest.strip() in ("", "and", "while", "as"), f"{sentence!r}: {rest!r}"
    return True
