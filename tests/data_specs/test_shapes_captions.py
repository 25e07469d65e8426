"""What is said and asked of a clip is true, checked by a reader that knows only the sentence and the true boxes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from data_specs.shapes.captions import captions, identifying
from data_specs.shapes.choices import multiple_choice
from data_specs.shapes.families import make_families
from data_specs.shapes.questions import ANSWERS, KIN_ANSWERS, kin_questions, questions
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


def test_questions_have_the_one_right_answer() -> None:
    kinds = set()
    for scene in SCENES:
        seen, asked = Seen.of(scene), questions(scene)
        assert len({question.question for question in asked}) == len(asked)
        for question in asked:
            assert question.answer in ANSWERS
            assert right_answers(question.question, seen) == {question.answer}, (scene.signature, question)
            kinds.add(question.answer_type)
    assert kinds == {"what", "how many", "what colour", "where", "motion"}


def test_questions_of_kin_have_the_one_right_answer() -> None:
    given = set()
    for scene in make_families(11, "train", 80):
        seen = Seen.of(scene)
        for question in kin_questions(scene):
            assert question.answer in KIN_ANSWERS
            assert right_answers(question.question, seen) == {question.answer}, (scene.signature, question)
            given |= {question.answer} if question.answer_type == "motion" else set()
    assert given == {"left", "right", "up", "down", "bigger", "smaller"}


def right_answers(question: str, seen: Seen) -> set[str]:
    """All answers that the boxes allow."""
    names, words = list(seen.boxes), question.rstrip("?").split()
    in_place = ("still", "growing", "shrinking")
    if question.startswith("how many"):
        shape = words[2].removesuffix("es") if words[2] == "crosses" else words[2].removesuffix("s")
        count = len(names) if shape == "shape" else sum(name.endswith(shape) for name in names)
        return {["no", "one", "two", "three", "four", "five"][count]}
    verb, _ = starts_with(question.rstrip("?").split("that ")[-1].removeprefix("what "), MOTIONS)
    if verb:
        allowed = in_place if verb == "still" else (verb,)
        moving = [name for name in names if seen.motion(name) in allowed]
        return {name.split()[0 if question.startswith("what colour") else 1] for name in moving}
    if question.startswith("what colour is the"):
        return {name.split()[0] for name in names if name.endswith(words[-1])}
    if question.startswith("what shape is"):
        return {name.split()[1] for name in names if name.startswith(words[-1])}
    if re.match("where does|which way|in which direction|does|how does", question):
        meant = [name for name in names if name in question] or names
        called = {"growing": "bigger", "shrinking": "smaller"}
        return {called.get(motion, motion) for motion in map(seen.motion, meant) if motion != "still"}
    name = " ".join(words[3:5]).rstrip(",")
    if "left or on the right" in question:
        return {"left" if seen.centre(name, moment)[0] < 96 else "right" for moment in range(3)}
    other = " ".join(words[-2:])
    return {"above" if seen.centre(name, 1)[1] < seen.centre(other, 1)[1] else "below"}
