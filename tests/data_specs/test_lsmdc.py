"""LSMDC: sentences and multiple choice in the challenge's form, traps included."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_specs.manifest import Question
from tests.data_specs.annotation_files import build, items, refused, write

TRAIN, VAL = "LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv"
TEST, MC = "LSMDC16_challenge_1000_publictect.csv", "LSMDC16_multiple_choice_test_randomized.csv"
A = "3001_21_JUMP_STREET_00.03.07.077-00.03.07.559"
B = "0001_American_Beauty_00.00.51.926-00.00.54.129"
C = "1027_Les_Miserables_00_00.10.18.583-00.10.21.150"  # the movie's own name ends in a field of the times' form
TIMES = ("00.03.07.077", "00.03.07.559", "00.03.06.318", "00.03.08.318")
OPTIONS = ("SOMEONE nods.", '"Quote, opened', "He leaves.", "She's gone\u2019s.", "They run.")


def table(*rows: tuple[str, ...], end: str = "\n") -> str:
    return end.join("\t".join(row) for row in rows)  # no line feed after the last


def said(clip: str, sentence: str) -> tuple[str, ...]:
    return (clip, *TIMES, sentence)


def choice(clip: str, answer: str, options: tuple[str, ...] = OPTIONS) -> tuple[str, ...]:
    return (clip, *TIMES, *options, answer)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences(tmp_path: Path, end: str) -> None:
    write(tmp_path / TRAIN, table(said(A, '"Unbalanced, says SOMEONE.'), said(C, "a"), said(A, "Again."), end=end))
    write(tmp_path / f"meta_data/{VAL}", table(said(B, "b"), end=end))
    write(tmp_path / TEST, table(said("2_X_Y_0.1-0.2", "t"), end=end))
    found = [(item.id, item.path, item.split, item.captions) for item in items("lsmdc", tmp_path)]
    assert found == [
        (A, f"3001_21_JUMP_STREET/{A}.avi", "train", ('"Unbalanced, says SOMEONE.', "Again.")),
        (C, f"1027_Les_Miserables_00/{C}.avi", "train", ("a",)),
        (B, f"0001_American_Beauty/{B}.avi", "val", ("b",)),
        ("2_X_Y_0.1-0.2", "2_X_Y/2_X_Y_0.1-0.2.avi", "test", ("t",)),
    ]
    assert all(item.clip_start is None and not item.questions for item in items("lsmdc", tmp_path))


def test_choices_of_one_clip_stand_on_one_row_keyed_by_the_files_row(tmp_path: Path) -> None:
    write(tmp_path / MC, table(choice(A, "1"), choice(B, "5"), choice(A, "2")))
    built = build("lsmdc", tmp_path, "multiple-choice")
    assert built.absent == ("train", "val")
    found = {item.id: item for item in built.manifest}
    assert list(found) == [A, B] and all(item.captions == () for item in found.values())
    expected = [Question("", OPTIONS[label], "multiple_choice", OPTIONS, label, key) for label, key in ((0, 0), (1, 2))]
    assert [(q.answer, q.options, q.label, q.key) for q in found[A].questions] == [
        (q.answer, q.options, q.label, f"mc_test-{q.key}") for q in expected
    ]
    (last,) = found[B].questions
    assert (last.label, last.answer, last.answer_type) == (4, "They run.", "multiple_choice")


def test_media_below_another_folder(tmp_path: Path) -> None:
    write(tmp_path / TEST, table(said(A, "a")))
    write(tmp_path / f"avi/3001_21_JUMP_STREET/{A}.avi", b"x")
    assert items("lsmdc", tmp_path)[0].path == f"avi/3001_21_JUMP_STREET/{A}.avi"


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (TEST, [said(A, "a"), said(B, "b")[:-1]], "row 2: not 6 values, but 5"),
        (TEST, [said(A, "a"), (*said(B, "b"), "c")], "row 2: not 6 values, but 7"),
        (TEST, [said("", "a")], "row 1: clip_id: expected an id"),
        (TEST, [said("nan", "a")], "row 1: clip_id: expected an id"),
        (TEST, [said("noscore", "a")], "row 1: clip_id: 'noscore' has no '_'"),
        (TEST, [said("../x_1", "a")], "row 1: '../x/../x_1.avi' is not a path below the media root"),
        (TEST, [said(A, "")], "row 1: sentence: expected a caption"),
        (MC, [choice(A, "0")], "row 1: answer: '0' is not an option from 1 to 5"),
        (MC, [choice(A, "1"), choice(A, "6")], "row 2: answer: '6' is not an option from 1 to 5"),
        (MC, [choice(A, "one")], "row 1: answer: 'one' is not an option"),
        (MC, [choice(A, "1")[:-1]], "row 1: not 11 values, but 10"),
        (MC, [choice(A, "1", (*OPTIONS[:4], " "))], "row 1: sentence 5: expected a caption"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, name: str, rows: list[tuple[str, ...]], message: str) -> None:
    path = write(tmp_path / name, table(*rows))
    protocol = "multiple-choice" if name == MC else "retrieval"
    assert f"{path}: {message}" in refused("lsmdc", tmp_path, protocol)


def test_a_clip_in_two_splits_is_named(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, table(said(A, "a")))
    path = write(tmp_path / TEST, table(said(B, "b"), said(A, "a")))
    assert f"{path}: row 2: clip_id: {A!r} is in split train already" in refused("lsmdc", tmp_path)


def test_multiple_choice_needs_its_file(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, table(said(A, "a")))
    assert MC in refused("lsmdc", tmp_path, "multiple-choice")
