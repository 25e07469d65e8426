"""Words about a scene: captions, questions and multiple choice, each tied to claims that can be checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.manifest import Question
from data_specs.shapes.scene import (
    CHANGING,
    COLOURS,
    DURATION_S,
    MIDDLE_S,
    SCALING,
    SHAPES,
    WIDTH,
    Scene,
    Thing,
    events,
    generator_of,
    possible_relations,
    related,
    relations,
)

MULTIPLE_CHOICE = "multiple_choice"
OPTIONS = 5
ANSWERS = tuple(
    sorted({*SHAPES, *COLOURS, "one", "two", "three", "four", "five", "left", "right", "up", "down", "above", "below"})
)

_LANGUAGE = 3
_NUMBERS = ("no", "one", "two", "three", "four", "five")
_VERBS = {
    "left": ("moves left", "drifts to the left", "slides towards the left side"),
    "right": ("moves right", "drifts to the right", "slides towards the right side"),
    "up": ("moves up", "rises", "climbs towards the top"),
    "down": ("moves down", "sinks", "falls towards the bottom"),
    "still": ("stays still", "does not move", "rests in its place"),
    "growing": ("grows", "gets bigger", "becomes larger and larger"),
    "shrinking": ("shrinks", "gets smaller", "becomes smaller and smaller"),
}
_RELATIONS = {
    "above": ("above",),
    "below": ("below", "under"),
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
}
_STARTS = ("", "over a grey background ", "in this clip ")


@dataclass(frozen=True)
class Noun:
    """Which things are meant; None leaves a property open."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None

    def means(self, thing: Thing, loosely: bool = False) -> bool:
        """Whether a thing is meant. ``loosely``: a thing that grows or shrinks may pass for any size."""
        sized = self.size in (None, thing.size) or (loosely and thing.motion in SCALING)
        return sized and self.shape in (None, thing.shape) and self.colour in (None, thing.colour)


@dataclass(frozen=True)
class Claim:
    """Says that a thing exists; with ``motion`` that it moves so, with ``relation`` how it stands to ``other``.

    With ``count`` it says instead that exactly so many things are meant by ``subject``.
    """

    subject: Noun
    motion: str | None = None
    relation: str | None = None
    other: Noun | None = None
    count: int | None = None

    def holds(self, scene: Scene, loosely: bool = False) -> bool:
        """Whether it is true of a scene; ``loosely``: whether anybody could take it for true at some time."""
        subjects = [t for t in scene.things if self.subject.means(t, loosely)]
        if self.count is not None:
            return len(subjects) == self.count
        subjects = [t for t in subjects if self.motion in (None, t.motion, _also(t, loosely))]
        if self.relation is None:
            return bool(subjects)
        assert self.other is not None
        known = possible_relations if loosely else relations
        others = [t for t in scene.things if self.other.means(t, loosely)]
        return any(self.relation in known(a, b) for a in subjects for b in others if a is not b)


@dataclass(frozen=True)
class Caption:
    """A sentence and everything it claims."""

    text: str
    claims: tuple[Claim, ...]

    def holds(self, scene: Scene) -> bool:
        """Whether all of it is true of a scene."""
        return all(claim.holds(scene) for claim in self.claims)

    def could_hold(self, scene: Scene) -> bool:
        """Whether all of it could be taken for true of a scene; a wrong option must not."""
        return all(claim.holds(scene, loosely=True) for claim in self.claims)


def captions(scene: Scene, count: int) -> tuple[Caption, ...]:
    """``count`` (5 to 20) different true captions of a scene.

    The first one names two things with all their attributes, a motion and a relation. Fewer are a prefix of more.
    """
    rng = generator_of(scene.seed, scene.split, scene.index, _LANGUAGE, 0)
    pairs = related(scene.things)
    a, b, relation = pairs[rng.integers(len(pairs))]
    first = _moving_beside(rng, a, b, relation)
    found = {first.text: first}
    while len(found) < count:
        first_thing, second = (scene.things[i] for i in rng.permutation(len(scene.things))[:2])
        a, b, relation = pairs[rng.integers(len(pairs))]
        makers: tuple[Callable[[], Caption], ...] = (
            lambda a=a, b=b, r=relation: _moving_beside(rng, a, b, r),
            lambda a=a, b=b, r=relation: _standing(rng, a, b, r),
            lambda a=first_thing, b=second: _both_moving(rng, a, b),
            lambda a=first_thing: _one_moving(rng, a),
            lambda a=first_thing, b=second: _counted(rng, scene, a, b),
        )
        caption = makers[rng.choice(len(makers), p=(0.3, 0.2, 0.25, 0.1, 0.15))]()
        found.setdefault(caption.text, caption)
    return tuple(found.values())


def kin_captions(scene: Scene, count: int) -> tuple[Caption, ...]:
    """``count`` (1 to 12) different true captions of a clip that has a reverse beside it.

    Each says of a thing that moves how it moves and how it stands to another one: what says nothing of motion is true
    of both clips. The first, and some of the others, say how many things there are, too. Fewer are a prefix of more.
    """
    rng = generator_of(scene.seed, scene.split, scene.index, _LANGUAGE, 0)
    claims = [Claim(_noun(a), a.motion, relation, _noun(b)) for a, b, relation in events(scene.things)]
    told = [(claim, verb) for claim in claims for verb in _VERBS[str(claim.motion)]]
    counting = [_beside_caption(claim, verb, count=len(scene.things)) for claim, verb in told]
    said = counting + [_beside_caption(claim, verb, start=start) for claim, verb in told for start in _STARTS]
    first = counting[rng.integers(len(counting))]
    rest = [said[i] for i in rng.permutation(len(said)) if said[i] is not first]
    return (first, *rest)[:count]


def questions(scene: Scene) -> tuple[Question, ...]:
    """Open questions of a scene, each with exactly one right answer out of ``ANSWERS``; keys are left empty."""
    rng = generator_of(scene.seed, scene.split, scene.index, _LANGUAGE, 1)
    things = scene.things
    found = [Question("how many shapes are there?", _NUMBERS[len(things)], "how many")]
    for shape in dict.fromkeys(t.shape for t in things):
        same = [t for t in things if t.shape == shape]
        found.append(Question(f"how many {_plural(shape)} are there?", _NUMBERS[len(same)], "how many"))
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
            verb = _VERBS[motion][0]
            found.append(Question(f"what {verb}?", same[0].shape, "what"))
            found.append(Question(f"what colour is the shape that {verb}?", same[0].colour, "what colour"))
    for thing in things:
        found += _where(thing, things)
    return tuple(found[i] for i in rng.permutation(len(found)))


def options(scene: Scene, others: Sequence[Scene], kin: bool = False) -> tuple[tuple[Caption, ...], int]:
    """Five captions of which one is true, and which; the other four could not be taken for true of this clip.

    Two wrong options are the true caption with one or two words changed, two are captions of ``others`` (more
    changed ones take the place of missing ones). ``kin``: captions are those of ``kin_captions``.
    """
    first = _first_of_kin if kin else _first
    rng = generator_of(scene.seed, scene.split, scene.index, _LANGUAGE, 2)
    right = first(scene)
    wrong: dict[str, Caption] = {}
    order = [others[i] for i in rng.permutation(len(others))] if others else []
    for other in order:
        candidate = first(other)
        if len(wrong) < 2 and not candidate.could_hold(scene):
            wrong[candidate.text] = candidate
    while len(wrong) < OPTIONS - 1:
        candidate = _altered(rng, right, kin)
        if not candidate.could_hold(scene):
            wrong[candidate.text] = candidate
    ordered = [right, *wrong.values()]
    shuffled = tuple(ordered[i] for i in rng.permutation(OPTIONS))
    return shuffled, shuffled.index(right)


def multiple_choice(scene: Scene, others: Sequence[Scene], kin: bool = False) -> Question:
    """``options`` as a question; the key is left empty."""
    given, label = options(scene, others, kin)
    return Question("", given[label].text, MULTIPLE_CHOICE, tuple(option.text for option in given), label)


def identifying(caption: Caption, others: Sequence[Scene]) -> bool:
    """Whether a caption could be taken for true of none of the other scenes."""
    return not any(caption.could_hold(other) for other in others)


def _first(scene: Scene) -> Caption:
    return captions(scene, 5)[0]


def _first_of_kin(scene: Scene) -> Caption:
    return kin_captions(scene, 1)[0]


def _also(thing: Thing, loosely: bool) -> str:
    """A thing that grows or shrinks stays in its place, so somebody may say that it stays still."""
    return "still" if loosely and thing.motion in SCALING else thing.motion


def _noun(thing: Thing) -> Noun:
    return Noun(thing.shape, thing.colour, None if thing.motion in SCALING else thing.size)


def _words(noun: Noun, article: str = "a") -> str:
    return " ".join(word for word in (article, noun.size, noun.colour, noun.shape) if word)


def _verb(rng: np.random.Generator, motion: str) -> str:
    return str(rng.choice(_VERBS[motion]))


def _moving_beside(rng: np.random.Generator, a: Thing, b: Thing, relation: str) -> Caption:
    claim = Claim(_noun(a), a.motion, relation, _noun(b))
    return _beside_caption(claim, _verb_beside(rng, a.motion))


def _verb_beside(rng: np.random.Generator, motion: str) -> str:
    return str(rng.choice([verb for verb in _VERBS[motion] if " not " not in verb]))


def _beside_caption(claim: Claim, verb: str, count: int | None = None, start: str = "") -> Caption:
    assert claim.relation is not None and claim.other is not None
    between = _RELATIONS[claim.relation][0]
    comma = "," if between.startswith("to the") else ""
    text = f"{start}{_words(claim.subject)} {verb}{comma} {between} {_words(claim.other)}"
    if count is None:
        return Caption(text, (claim,))
    return Caption(f"{_shown(count)}: {text}", (Claim(Noun(), count=count), claim))


def _shown(count: int) -> str:
    return f"{_NUMBERS[count]} shapes are shown"


def _standing(rng: np.random.Generator, a: Thing, b: Thing, relation: str) -> Caption:
    between = str(rng.choice(_RELATIONS[relation]))
    start = str(rng.choice(("there is ", "the video shows ", "we see ")))
    text = f"{start}{_words(_noun(a))} {between} {_words(_noun(b))}"
    if rng.random() < 0.5:
        return Caption(text, (Claim(_noun(a), None, relation, _noun(b)),))
    claims = (Claim(_noun(a), None, relation, _noun(b)), Claim(_noun(b), b.motion))
    return Caption(f"{text} that {_verb(rng, b.motion)}", claims)


def _both_moving(rng: np.random.Generator, a: Thing, b: Thing) -> Caption:
    between = str(rng.choice(("while", "and", "as")))
    text = f"{_words(_noun(a))} {_verb(rng, a.motion)} {between} {_words(_noun(b))} {_verb(rng, b.motion)}"
    return Caption(text, (Claim(_noun(a), a.motion), Claim(_noun(b), b.motion)))


def _one_moving(rng: np.random.Generator, a: Thing) -> Caption:
    text = f"{_words(_noun(a))} {_verb(rng, a.motion)}"
    start = str(rng.choice(_STARTS))
    return Caption(start + text, (Claim(_noun(a), a.motion),))


def _counted(rng: np.random.Generator, scene: Scene, a: Thing, b: Thing) -> Caption:
    start = _shown(len(scene.things))
    claims = (Claim(Noun(), count=len(scene.things)), Claim(_noun(a)), Claim(_noun(b), b.motion))
    if len(scene.things) == 2:
        return Caption(f"{start}, {_words(_noun(a))} and {_words(_noun(b))} that {_verb(rng, b.motion)}", claims)
    text = f"{start}, among them {_words(_noun(a))} and {_words(_noun(b))} that {_verb(rng, b.motion)}"
    return Caption(text, claims)


def _altered(rng: np.random.Generator, caption: Caption, kin: bool) -> Caption:
    """A caption like ``_moving_beside``'s with another colour or shape, motion, or relation.

    ``kin``: nothing is said to stay still, as none of their captions says so.
    """
    *counts, claim = caption.claims
    assert claim.other is not None and claim.motion is not None and claim.relation is not None
    subject, other, motion, relation = claim.subject, claim.other, claim.motion, claim.relation
    change = rng.integers(4)
    if change == 0:
        subject = Noun(str(rng.choice(SHAPES)), subject.colour, subject.size)
    elif change == 1:
        other = Noun(other.shape, str(rng.choice(tuple(COLOURS))), other.size)
    elif change == 2:
        motion = str(rng.choice(CHANGING if kin else tuple(_VERBS)))
        if motion in SCALING:
            subject = Noun(subject.shape, subject.colour)
    else:
        relation = str(rng.choice(tuple(_RELATIONS)))
    changed = Claim(subject, motion, relation, other)
    return _beside_caption(changed, _verb_beside(rng, motion), counts[0].count if counts else None)


def _where(thing: Thing, things: Sequence[Thing]) -> list[Question]:
    found = []
    if thing.motion in ("left", "right", "up", "down"):
        found.append(Question(f"where does the {thing.name} move?", thing.motion, "motion"))
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
