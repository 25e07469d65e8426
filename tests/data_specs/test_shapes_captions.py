"""What is said of a clip is true of it, checked by a reader that knows only the sentence and the true boxes."""

from __future__ import annotations

import pytest

from data_specs.shapes.captions import captions, kin_captions
from data_specs.shapes.families import make_family
from data_specs.shapes.scene import COLOURS, Scene
from tests.data_specs.scene_reader import MOTIONS, NOUN, RELATIONS, SCENES, Seen, is_true


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.split}{scene.index}")
def test_captions_are_true_different_and_say_enough(scene: Scene) -> None:
    seen, said = Seen.of(scene), captions(scene, 20)
    assert len({caption.text for caption in said}) == 20
    assert captions(scene, 5) == said[:5]
    for caption in said:
        assert is_true(caption.text, seen), caption.text
        assert caption.holds(scene) and caption.could_hold(scene)
    first = said[0].text
    assert len(NOUN.findall(first)) == 2
    assert any(way in first for ways in MOTIONS.values() for way in ways)
    assert any(way in first for ways in RELATIONS.values() for way in ways)


def test_the_reader_can_say_no() -> None:
    scene = SCENES[0]
    seen = Seen.of(scene)
    thing = scene.things[0]
    other = next(colour for colour in COLOURS if f"{colour} {thing.shape}" not in seen.boxes)
    assert not is_true(f"a {other} {thing.shape} stays still", seen)
    wrong = [motion for motion in MOTIONS if motion != thing.motion]
    assert not any(is_true(f"a {thing.name} {MOTIONS[motion][0]}", seen) for motion in wrong)


@pytest.mark.parametrize("number", range(12))
def test_captions_of_kin_are_true_of_one_of_the_four(number: int) -> None:
    family = make_family(11, "train", number)
    for scene in family:
        said = kin_captions(scene, 12)
        assert said[:5] == kin_captions(scene, 5)
        for caption in said:
            assert [is_true(caption.text, Seen.of(kin)) for kin in family] == [kin is scene for kin in family]
