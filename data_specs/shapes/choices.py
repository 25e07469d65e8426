"""Multiple choice: five captions of which one is true of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_specs.manifest import Question
from data_specs.shapes.captions import (
    RELATIONS,
    VERBS,
    Caption,
    Claim,
    Noun,
    beside_caption,
    captions_of,
    verb_beside,
)
from data_specs.shapes.scene import CHANGING, COLOURS, SCALING, SHAPES, Purpose, Scene, generator_of

MULTIPLE_CHOICE = "multiple_choice"
OPTIONS = 5


def options(scene: Scene, others: Sequence[Scene], kin: bool = False) -> tuple[tuple[Caption, ...], int]:
    """Five captions of which one is true, and which; the other four could not be taken for true of this clip.

    Two wrong options are the true caption with one or two words changed, two are captions of ``others`` (more
    changed ones take the place of missing ones). ``kin``: captions are those of ``kin_captions``.
    """
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.CHOICES)
    (right,) = captions_of(scene, 1, kin)
    wrong: dict[str, Caption] = {}
    order = [others[i] for i in rng.permutation(len(others))] if others else []
    for other in order:
        (candidate,) = captions_of(other, 1, kin)
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


def _altered(rng: np.random.Generator, caption: Caption, kin: bool) -> Caption:
    """A caption of ``beside_caption`` with another colour or shape, motion, or relation.

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
        motion = str(rng.choice(CHANGING if kin else tuple(VERBS)))
        if motion in SCALING:
            subject = Noun(subject.shape, subject.colour)
    else:
        relation = str(rng.choice(tuple(RELATIONS)))
    changed = Claim(subject, motion, relation, other)
    return beside_caption(changed, verb_beside(rng, motion), counts[0].count if counts else None)
