"""Captions of a scene, each tied to claims that can be checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.shapes.scene import (
    SCALING,
    Purpose,
    Scene,
    Thing,
    events,
    generator_of,
    possible_relations,
    related,
    relations,
)

NUMBERS = ("no", "one", "two", "three", "four", "five")
VERBS = {
    "left": ("moves left", "drifts to the left", "slides towards the left side"),
    "right": ("moves right", "drifts to the right", "slides towards the right side"),
    "up": ("moves up", "rises", "climbs towards the top"),
    "down": ("moves down", "sinks", "falls towards the bottom"),
    "still": ("stays still", "does not move", "rests in its place"),
    "growing": ("grows", "gets bigger", "becomes larger and larger"),
    "shrinking": ("shrinks", "gets smaller", "becomes smaller and smaller"),
}
RELATIONS = {
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


def captions_of(scene: Scene, count: int, kin: bool) -> tuple[Caption, ...]:
    """``kin_captions`` of a clip of a family, ``captions`` of another one."""
    return kin_captions(scene, count) if kin else captions(scene, count)


def captions(scene: Scene, count: int) -> tuple[Caption, ...]:
    """``count`` (5 to 20) different true captions of a scene.

    The first one names two things with all their attributes, a motion and a relation. Fewer are a prefix of more.
    """
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.CAPTIONS)
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
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.CAPTIONS)
    claims = [Claim(_noun(a), a.motion, relation, _noun(b)) for a, b, relation in events(scene.things)]
    told = [(claim, verb) for claim in claims for verb in VERBS[str(claim.motion)]]
    counting = [beside_caption(claim, verb, count=len(scene.things)) for claim, verb in told]
    said = counting + [beside_caption(claim, verb, start=start) for claim, verb in told for start in _STARTS]
    first = counting[rng.integers(len(counting))]
    rest = [said[i] for i in rng.permutation(len(said)) if said[i] is not first]
    return (first, *rest)[:count]


def identifying(caption: Caption, others: Sequence[Scene]) -> bool:
    """Whether a caption could be taken for true of none of the other scenes."""
    return not any(caption.could_hold(other) for other in others)


def _also(thing: Thing, loosely: bool) -> str:
    """A thing that grows or shrinks stays in its place, so somebody may say that it stays still."""
    return "still" if loosely and thing.motion in SCALING else thing.motion


def _noun(thing: Thing) -> Noun:
    return Noun(thing.shape, thing.colour, None if thing.motion in SCALING else thing.size)


def _words(noun: Noun, article: str = "a") -> str:
    return " ".join(word for word in (article, noun.size, noun.colour, noun.shape) if word)


def _verb(rng: np.random.Generator, motion: str) -> str:
    return str(rng.choice(VERBS[motion]))


def _moving_beside(rng: np.random.Generator, a: Thing, b: Thing, relation: str) -> Caption:
    claim = Claim(_noun(a), a.motion, relation, _noun(b))
    return beside_caption(claim, verb_beside(rng, a.motion))


def verb_beside(rng: np.random.Generator, motion: str) -> str:
    """Words for a motion that a relation may follow: none with a "not", which would seem to deny that, too."""
    return str(rng.choice([verb for verb in VERBS[motion] if " not " not in verb]))


def beside_caption(claim: Claim, verb: str, count: int | None = None, start: str = "") -> Caption:
    """What a thing does and how it stands to another one; ``count``: and how many things are shown."""
    assert claim.relation is not None and claim.other is not None
    between = RELATIONS[claim.relation][0]
    comma = "," if between.startswith("to the") else ""
    text = f"{start}{_words(claim.subject)} {verb}{comma} {between} {_words(claim.other)}"
    if count is None:
        return Caption(text, (claim,))
    return Caption(f"{_shown(count)}: {text}", (Claim(Noun(), count=count), claim))


def _shown(count: int) -> str:
    return f"{NUMBERS[count]} shapes are shown"


def _standing(rng: np.random.Generator, a: Thing, b: Thing, relation: str) -> Caption:
    between = str(rng.choice(RELATIONS[relation]))
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
