"""Open questions about a scene, each with exactly one right answer."""

from __future__ import annotations

from collections.abc import Sequence

from data_specs.manifest import Question
from data_specs.shapes.captions import NUMBERS, VERBS
from data_specs.shapes.scene import (
    COLOURS,
    DURATION_S,
    MIDDLE_S,
    SCALING,
    SHAPES,
    WIDTH,
    Purpose,
    Scene,
    Thing,
    generator_of,
    relations,
)

ANSWERS = tuple(
    sorted({*SHAPES, *COLOURS, "one", "two", "three", "four", "five", "left", "right", "up", "down", "above", "below"})
)

KIN_ANSWERS = tuple(sorted({*ANSWERS, "bigger", "smaller"}))

_OF_A_KIND = 2
_WHICH_WAY = (
    "where does the {} move?",
    "which way does the {} go?",
    "in which direction does the {} move?",
    "where does the shape that moves go?",
)
_WHICH_SIZE = (
    "does the {} get bigger or smaller?",
    "does the {} become smaller or bigger?",
    "how does the size of the {} change?",
    "does the shape that changes get bigger or smaller?",
)
_SIZES = {"growing": "bigger", "shrinking": "smaller"}


def questions_of(scene: Scene, kin: bool) -> tuple[Question, ...]:
    """``kin_questions`` of a clip of a family, ``questions`` of another one."""
    return kin_questions(scene) if kin else questions(scene)


def questions(scene: Scene) -> tuple[Question, ...]:
    """Open questions of a scene, each with exactly one right answer out of ``ANSWERS``; keys are left empty."""
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.QUESTIONS)
    things = scene.things
    found = [Question("how many shapes are there?", NUMBERS[len(things)], "how many")]
    for shape in dict.fromkeys(t.shape for t in things):
        same = [t for t in things if t.shape == shape]
        found.append(Question(f"how many {_plural(shape)} are there?", NUMBERS[len(same)], "how many"))
        if len(same) == 1:
            found.append(Question(f"what colour is the {shape}?", same[0].colour, "what colour"))
    for colour in dict.fromkeys(t.colour for t in things):
        same = [t for t in things if t.colour == colour]
        if len(same) == 1:
            found.append(Question(f"what shape is {colour}?", same[0].shape, "what"))
    for motion in dict.fromkeys(t.motion for t in things):
        same = [t for t in things if t.motion == motion]
        if motion == "still" and any(t.motion in SCALING for t in things):
            continue  # what grows in its place could be called still as well
        if len(same) == 1:
            verb = VERBS[motion][0]
            found.append(Question(f"what {verb}?", same[0].shape, "what"))
            found.append(Question(f"what colour is the shape that {verb}?", same[0].colour, "what colour"))
    for thing in things:
        found += _where(thing, things)
    return tuple(found[i] for i in rng.permutation(len(found)))


def kin_questions(scene: Scene) -> tuple[Question, ...]:
    """Open questions of a clip that has a reverse beside it, answers out of ``KIN_ANSWERS``; keys are left empty.

    How the thing that changes does so is asked in four wordings, all else at most twice of a kind: about each third
    question needs more than a frame. (Of ``questions`` it is each twentieth, and these are not learnt beside the rest.)
    """
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.QUESTIONS)
    found = [question for thing in scene.things for question in _change(thing)]
    kinds: dict[str, list[Question]] = {}
    for question in questions(scene):
        kinds.setdefault(question.answer_type, []).append(question)
    kinds.pop("motion", None)
    found += [question for same in kinds.values() for question in same[:_OF_A_KIND]]
    return tuple(found[i] for i in rng.permutation(len(found)))


def _change(thing: Thing) -> list[Question]:
    if thing.motion == "still":
        return []
    ways, answer = (_WHICH_SIZE, _SIZES[thing.motion]) if thing.motion in SCALING else (_WHICH_WAY, thing.motion)
    return [Question(way.format(thing.name), answer, "motion") for way in ways]


def _where(thing: Thing, things: Sequence[Thing]) -> list[Question]:
    found = []
    if thing.motion in ("left", "right", "up", "down"):
        found.append(Question(_WHICH_WAY[0].format(thing.name), thing.motion, "motion"))
    ends = [thing.centre(t)[0] - WIDTH / 2 for t in (0.0, MIDDLE_S, DURATION_S)]
    if min(map(abs, ends)) > 12 and (min(ends) > 0 or max(ends) < 0):
        side = "left" if ends[0] < 0 else "right"
        found.append(Question(f"where is the {thing.name}, on the left or on the right side?", side, "where"))
    for other in things:
        for relation in relations(thing, other):
            if relation in ("above", "below"):
                text = f"where is the {thing.name} in the middle of the clip, above or below the {other.name}?"
                found.append(Question(text, relation, "where"))
    return found


def _plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")
