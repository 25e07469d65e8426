"""Answer vocabularies: counted or read, and the share of answers that they cover."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from data_specs.__main__ import main
from data_specs.annotations.answers import coverage, labelled, read_vocabulary, vocabulary, write_vocabulary
from data_specs.annotations.sources import Sources
from data_specs.build import build_manifest, joined
from data_specs.errors import InputError
from data_specs.manifest import Item, ManifestInfo, Question, write_manifest
from data_specs.shapes.generate import generate
from data_specs.spec import AnswerSpec, load_spec
from data_specs.vocabulary import read_answers


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


def count(manifest: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["answers", str(manifest), *more])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four training answers, of which "cat" and "dog" are the most frequent; val asks two, test none."""
    items = [
        item("a", "train", "dog", "cat", "eel", "dog"),
        item("b", "train", "cat", "ant cat"),
        item("c", "val", "dog", "fly"),
        item("d", "test"),
    ]
    write_manifest(tmp_path / "m.parquet", items, ManifestInfo("mine"))
    return tmp_path / "m.parquet"


@pytest.mark.parametrize("name", ["answers.txt", "answers.json"])
def test_a_counted_vocabulary_is_written_as_it_is_read(manifest: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    result = count(manifest, "--most-frequent", "3", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "83.3 % of train (5 of 6 questions) are covered",
        "50.0 % of val (1 of 2 questions) are covered",
        f"wrote {out}: 3 answers",
    ]
    assert read_vocabulary(Sources(load_spec("shapes"), tmp_path), out) == ("cat", "dog", "ant cat")
    assert read_answers(out) == ("cat", "dog", "ant cat")  # as training does


def test_a_vocabulary_that_cannot_be_written(manifest: Path, tmp_path: Path) -> None:
    for out, said in ((tmp_path, "is a directory"), (manifest / "answers.txt", "cannot be written: ")):
        result = count(manifest, "--most-frequent", "3", "--out", str(out))
        assert result.exit_code == 2 and said in result.output and "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]


def test_the_splits_to_count_may_be_chosen(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.txt"
    assert count(manifest, "--most-frequent", "9", "--split", "val", "--out", str(out)).exit_code == 0
    assert out.read_text() == "dog\nfly\n"
    assert (
        count(manifest, "--most-frequent", "1", "--split", "train", "--split", "val", "--out", str(out)).exit_code == 0
    )
    assert out.read_text() == "dog\n"


def test_nothing_to_count_is_said(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.txt"
    result = count(manifest, "--most-frequent", "9", "--split", "test", "--out", str(out))
    assert result.exit_code == 2
    assert "no open-ended question in split test" in result.output and str(manifest) in result.output
    assert not out.exists()


@pytest.mark.parametrize("answer", ["two\nlines", "", "  ", "cut\r", "page\x0cbreak"])
def test_an_answer_that_makes_no_line_goes_into_json_alone(tmp_path: Path, answer: str) -> None:
    with pytest.raises(InputError, match=r"does not make a line; write a \.json file"):
        write_vocabulary(tmp_path / "answers.txt", ["dog", answer])
    assert not (tmp_path / "answers.txt").exists()
    write_vocabulary(tmp_path / "answers.json", ["dog", answer])
    assert read_vocabulary(Sources(load_spec("shapes"), tmp_path), tmp_path / "answers.json") == ("dog", answer)
