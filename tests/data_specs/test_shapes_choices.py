"""Of five choices one is true of the clip, checked by the reader of boxes."""

from __future__ import annotations

from data_specs.shapes.captions import captions, identifying
from data_specs.shapes.choices import multiple_choice
from tests.data_specs.scene_reader import SCENES, Seen, is_true


def test_one_option_is_true_and_four_are_false() -> None:
    labels = set()
    for place, scene in enumerate(SCENES):
        seen = Seen.of(scene)
        others = [SCENES[(place + step) % len(SCENES)] for step in range(1, 8)]
        asked = multiple_choice(scene, others)
        assert len(set(asked.options)) == 5
        assert [is_true(option, seen) for option in asked.options] == [n == asked.label for n in range(5)]
        assert asked.answer == asked.options[asked.label]
        labels.add(asked.label)
    assert labels == set(range(5))


def test_choices_do_not_need_other_scenes() -> None:
    asked = multiple_choice(SCENES[0], [])
    assert [is_true(option, Seen.of(SCENES[0])) for option in asked.options].count(True) == 1


def test_a_caption_of_the_scene_itself_is_never_a_wrong_option() -> None:
    for scene in SCENES[:10]:
        asked = multiple_choice(scene, [scene] * 5)
        assert [is_true(option, Seen.of(scene)) for option in asked.options].count(True) == 1
        assert not identifying(captions(scene, 5)[0], [scene])
