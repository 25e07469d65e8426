"""Families of clips: the same things, and no single frame that tells which way they move."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from data_specs.errors import InputError
from data_specs.shapes.captions import kin_captions
from data_specs.shapes.choices import options
from data_specs.shapes.families import FAMILY, make_families, make_family
from data_specs.shapes.questions import KIN_ANSWERS, kin_questions
from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import DURATION_S, MIDDLE_S, OPPOSITES, Scene, events, relations

FAMILIES = [make_family(3, split, number) for split in ("train", "val", "test") for number in range(25)]
SCENES = [scene for family in FAMILIES for scene in family]


def names(scene: Scene) -> set[str]:
    return {thing.name for thing in scene.things}


def test_a_family_shows_the_same_things() -> None:
    for family in FAMILIES:
        assert len(family) == FAMILY
        assert len({frozenset(names(scene)) for scene in family}) == 1
        assert [scene.index % FAMILY for scene in family] == list(range(FAMILY))


def test_each_second_clip_is_the_one_before_backwards() -> None:
    for forth, back in ((family[n], family[n + 1]) for family in FAMILIES for n in (0, 2)):
        for time_s in (0.0, 0.4, MIDDLE_S, DURATION_S):
            for one, other in zip(forth.things, back.things, strict=True):
                assert one.centre(time_s) == pytest.approx(other.centre(DURATION_S - time_s))
                assert one.width_at(time_s) == pytest.approx(other.width_at(DURATION_S - time_s))
                assert one.motion == OPPOSITES[other.motion]
                assert (one.motion == other.motion) == (one.motion == "still")


def test_the_middle_frame_says_nothing_of_motion() -> None:
    """A clip and its reverse have the same middle frame, the same questions about what changes and how, and of each of
    these the opposite answer: nobody who sees that frame alone is right about both."""
    asked = 0
    for forth, back in ((family[n], family[n + 1]) for family in FAMILIES for n in (0, 2)):
        one, other = render_frame(forth, MIDDLE_S), render_frame(back, MIDDLE_S)
        assert np.abs(one.boxes - other.boxes).max() <= 0.5
        assert (one.labels == other.labels).all()
        answers = [
            {q.question: q.answer for q in kin_questions(scene) if q.answer_type == "motion"} for scene in (forth, back)
        ]
        assert answers[0].keys() == answers[1].keys()
        for question, answer in answers[0].items():
            assert {answer, answers[1][question]} in ({"left", "right"}, {"up", "down"}, {"bigger", "smaller"})
            asked += 1
    assert asked == 4 * len(SCENES) // 2


def test_each_third_question_is_about_motion() -> None:
    asked = [kin_questions(scene) for scene in SCENES]
    assert all(len({question.question for question in of}) == len(of) for of in asked)
    kinds = Counter(question.answer_type for of in asked for question in of)
    assert set(kinds) == {"motion", "what", "what colour", "how many", "where"}
    assert 0.3 <= kinds["motion"] / kinds.total() <= 0.4
    assert {question.answer for of in asked for question in of} <= set(KIN_ANSWERS)


def test_splits_share_no_set_of_things() -> None:
    found = {
        split: {frozenset(names(scene)) for scene in make_families(0, split, 200)} for split in ("train", "val", "test")
    }
    assert all(not found[a] & found[b] for a, b in combinations(found, 2))


def test_captions_say_everything_and_choices_have_one_truth() -> None:
    for place, scene in enumerate(SCENES[:60]):
        said = kin_captions(scene, 8)
        assert len({caption.text for caption in said}) == 8 and all(caption.holds(scene) for caption in said)
        assert all(any(claim.motion for claim in caption.claims) for caption in said)
        counts, claim = said[0].claims
        assert counts.count == len(scene.things) and claim.motion and claim.relation
        assert claim.subject.colour and claim.subject.shape
        given, label = options(scene, SCENES[place + 1 : place + 8], kin=True)
        assert [n for n, option in enumerate(given) if option.could_hold(scene)] == [label]


def test_what_is_said_of_one_is_true_of_no_kin() -> None:
    for family in FAMILIES:
        for scene in family:
            for caption in kin_captions(scene, 12):
                assert [caption.holds(kin) for kin in family] == [kin is scene for kin in family]


def test_kin_differ_in_motion_or_in_relation_alone() -> None:
    differ_in_motion = 0
    for here, _, there, _ in FAMILIES:
        (one,), (other,) = ([t for t in scene.things if t.motion != "still"] for scene in (here, there))
        assert one.name == other.name
        resting = [{(t.name, t.size) for t in scene.things if t.motion == "still"} for scene in (here, there)]
        assert resting[0] == resting[1]
        told = [{(b.name, relation) for _, b, relation in events(scene.things)} for scene in (here, there)]
        if one.motion == other.motion:
            assert told[0] and told[1] and not told[0] & told[1] and one.size == other.size
        else:
            assert told[0] == told[1] and other.motion != OPPOSITES[one.motion]
            differ_in_motion += 1
    assert 0.05 <= differ_in_motion / len(FAMILIES) <= 0.4


def test_one_thing_moves_and_stands_clearly_to_another() -> None:
    for scene in SCENES:
        (mover,) = (thing for thing in scene.things if thing.motion != "still")
        assert any(relations(mover, thing) for thing in scene.things)


def test_a_broken_family_is_refused() -> None:
    with pytest.raises(InputError, match="split test: 6 clips are no whole families of 4"):
        make_families(0, "test", 6)
