"""Answer vocabularies: counted or read, and the share of answers that they cover."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.annotations.answers import coverage, labelled, vocabulary
from data_specs.annotations.sources import Sources
from data_specs.build import build_manifest, joined
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.shapes.generate import generate
from data_specs.spec import AnswerSpec, load_spec


def item(identifier: str, split: str, *answers: str) -> Item:
    choice = Question("", "right", "multiple_choice", ("right", "wrong"), 0)
    asked = (*(Question("what?", answer) for answer in answers), choice)
    return Item(identifier, f"{identifier}.mp4", split, questions=asked)


def test_the_most_frequent_answers_of_the_named_splits_by_count_then_text(tmp_path: Path) -> None:
    items = [item("a", "train", "dog", "cat", "ant"), item("b", "train", "dog", "ant"), item("c", "val", *["eel"] * 9)]
    sources = Sources(load_spec("shapes"), tmp_path)
    assert vocabulary(AnswerSpec(most_frequent=2), items, sources) == ("ant", "dog")
    assert vocabulary(AnswerSpec(most_frequent=9), items[::-1], sources) == ("ant", "dog", "cat")
    assert vocabulary(AnswerSpec(most_frequent=1, of=("train", "val")), items, sources) == ("eel",)
    with pytest.raises(InputError, match="no open-ended question in split test"):
        vocabulary(AnswerSpec(most_frequent=1, of=("test",)), items, sources)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), min_size=1, max_size=6), st.integers(1, 6))
def test_labels_index_the_vocabulary_and_choices_keep_theirs(answers: list[list[str]], size: int) -> None:
    items = [item(str(number), "train", *said) for number, said in enumerate(answers)]
    known = tuple("fedcba"[:size])
    found = labelled(items, known)
    covered = 0
    for before, after in zip(items, found, strict=True):
        assert after.questions[-1] == before.questions[-1]
        for question in after.questions[:-1]:
            assert question.label == (known.index(question.answer) if question.answer in known else -1)
            covered += question.answer in known
    total = sum(map(len, answers))
    shares = coverage(found)
    assert shares == {} if total == 0 else (shares["train"].covered, shares["train"].asked) == (covered, total)


def test_captions_are_joined_to_a_paragraph_in_their_order() -> None:
    items = [
        Item("a", "a", "test", captions=("x, y", "z")),
        Item("b", "b", "test", captions=("x",)),
        Item("c", "c", "val"),
    ]
    assert [list(found.captions) for found in joined(items, " | ")] == [["x, y | z"], ["x"], []]


def test_shapes_count_their_vocabulary(tmp_path: Path) -> None:
    generate(tmp_path, 3, 0, "native")
    built = build_manifest("shapes", tmp_path, tmp_path / "m.parquet", "qa")
    train = [q.answer for found in built.manifest if found.split == "train" for q in found.questions if not q.options]
    assert set(built.manifest.info.answers) == set(train) and built.coverage["train"].percent == 100
