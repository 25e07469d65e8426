"""Each open question about a clip has one right answer, checked by the reader of boxes."""

from __future__ import annotations

import re

from data_specs.shapes.families import make_families
from data_specs.shapes.questions import ANSWERS, KIN_ANSWERS, kin_questions, questions
from tests.data_specs.scene_reader import MOTIONS, SCENES, Seen, starts_with


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
        moved = {motion for motion in map(seen.motion, meant) if motion != "still"}
        of_size = {"growing": "bigger", "shrinking": "smaller"}
        if re.search("bigger|size", question):
            return {of_size.get(motion, "neither") for motion in moved}
        return moved
    name = " ".join(words[3:5]).rstrip(",")
    if "left or on the right" in question:
        return {"left" if seen.centre(name, moment)[0] < 96 else "right" for moment in range(3)}
    other = " ".join(words[-2:])
    return {"above" if seen.centre(name, 1)[1] < seen.centre(other, 1)[1] else "below"}
