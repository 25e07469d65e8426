"""TGIF-FrameQA: the official table, the authors' JSON lines, and the authors' published validation questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_specs.build import build_manifest
from tests.data_specs.annotation_files import build, items, published, refused, write

HEADER = ("gif_name", "question", "answer", "type", "vid_id", "key", "description")
TRAIN, TEST = "Train_frameqa_question.csv", "dataset/Test_frameqa_question.csv"
AUTHORS_TRAIN, AUTHORS_VAL, AUTHORS_TEST = (f"meta_data/frameqa_{name}.jsonl" for name in ("train", "val", "test"))
ANSWERS = "frameqa_trainval_ans2label.json"
ROWS = [
    ("tumblr_a_250", "what is being placed in the cone ?", "cookie", 0),
    ("tumblr_b_400", "how many people are sitting ?", "two", 1),
    ("tumblr_a_250", "what is the color of the shirt ?", "black", 2),
    ("tumblr_c_r1_500", "where is the guy walking . ?", "machine", 3),
]
TYPES = ("object", "number", "color", "location")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / ANSWERS, json.dumps({"black": 1, "cookie": 0, "two": 2}))
    return tmp_path


def official(rows: list[tuple], start: int = 0, description: str = '" a " " v sign') -> str:
    lines = [HEADER] + [(*row, f"FRAMEQA{n}", 27138 + n, description) for n, row in enumerate(rows, start)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


def authors(rows: list[tuple]) -> str:
    names = ("gif_name", "question", "answer", "answer_type")
    return "\n".join(json.dumps(dict(zip(names, (*row[:3], TYPES[row[3]]), strict=True))) for row in rows)


def asked(root: Path) -> list[tuple]:
    return [
        (item.split, item.id, item.path, q.question, q.answer, q.answer_type, q.label)
        for item in items("tgif", root)
        for q in item.questions
    ]


def expected(rows: list[tuple], split: str) -> list[tuple]:
    labels = {"cookie": 0, "black": 1, "two": 2}
    order = sorted(rows, key=lambda row: [other[0] for other in rows].index(row[0]))  # by GIF, as first named
    return [
        (split, f"{split}/{gif}", f"gifs/{gif}.gif", question, answer, TYPES[kind], labels.get(answer, -1))
        for gif, question, answer, kind in order
    ]


def test_official_tables(root: Path) -> None:
    write(root / TRAIN, official(ROWS))
    write(root / TEST, official(ROWS[1:3], start=50).encode().replace(b"\n", b"\r\n"))
    assert asked(root) == expected(ROWS, "train") + expected(ROWS[1:3], "test")
    built = build("tgif", root)
    assert built.forms == {"train": "official", "test": "official"} and built.absent == ("val",)
    assert built.manifest.counts() == {"train": 3, "test": 2}  # GIFs
    assert [q.key for item in built.manifest for q in item.questions if item.split == "test"] == [
        "FRAMEQA50",
        "FRAMEQA51",
    ]
    assert built.coverage["train"].covered == 3 and built.coverage["train"].asked == 4
    assert not any(item.captions for item in built.manifest)  # the description would tell the answer


def test_authors_lines(root: Path) -> None:
    write(root / AUTHORS_VAL, authors(ROWS))
    write(root / AUTHORS_TEST, authors(ROWS[:1]))
    assert asked(root) == expected(ROWS, "val") + expected(ROWS[:1], "test")
    keys = [q.key for item in items("tgif", root) for q in item.questions]
    assert keys == ["val-0", "val-2", "val-1", "val-3", "test-0"]


def test_a_gif_may_stand_in_two_splits(root: Path) -> None:
    write(root / AUTHORS_TRAIN, authors(ROWS[:2]))
    write(root / AUTHORS_VAL, authors(ROWS[2:]))
    assert asked(root) == expected(ROWS[:2], "train") + expected(ROWS[2:], "val")
    assert [item.id for item in items("tgif", root)][::2] == ["train/tumblr_a_250", "val/tumblr_a_250"]


def test_official_training_leaves_out_the_authors_validation(root: Path) -> None:
    write(root / TRAIN, official(ROWS))
    write(root / AUTHORS_TRAIN, authors(ROWS[:1]))  # not read: the official one is there
    write(root / AUTHORS_VAL, authors(ROWS[2:3]))
    kept = [row for row in ROWS if row is not ROWS[2]]
    assert asked(root) == expected(kept, "train") + expected(ROWS[2:3], "val")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (TEST, "gif_name\tquestion\nx\ty\n", "row 1: no column 'answer', found: gif_name, question"),
        (TEST, official([*ROWS[:1], ("g", "q", "a", 4)]), "row 3: type: '4' is not one from 0 to 3"),
        (TEST, official([("", "q", "a", 0)]), "row 2: gif_name: expected a text, found ''"),
        (TEST, official([("nan", "q", "a", 0)]), "row 2: gif_name: expected an id, found 'nan'"),
        (TEST, official([("../g", "q", "a", 0)]), "row 2: 'gifs/../g.gif' is not a path below the media root"),
        (TEST, official(ROWS[:1]) + official(ROWS[1:2]).split("\n", 1)[1], "row 3: vid_id: 'FRAMEQA0' stands in row 2"),
        (TEST, official(ROWS[:2], description='"left open'), "row 2: a value goes over several lines"),
        (TEST, official(ROWS[:1]).rstrip("\n").rpartition("\t")[0], "row 2: not 7 values, but 6"),
        (AUTHORS_VAL, '{"gif_name": "g"}', "row 1: question: expected a text, found None"),
        (AUTHORS_VAL, '{"gif_name": NaN}', "row 1: gif_name: expected a text, found nan"),
    ],
)
def test_a_wrong_row_is_named(root: Path, name: str, content: str, said: str) -> None:
    path = write(root / name, content)
    assert f"{path}: {said}" in refused("tgif", root)


def test_the_vocabulary_must_be_there(root: Path) -> None:
    (root / ANSWERS).unlink()
    write(root / AUTHORS_VAL, authors(ROWS))
    assert ANSWERS in refused("tgif", root)


def test_the_published_validation_questions(tmp_path: Path) -> None:
    built = build_manifest("tgif", published("tgif"), tmp_path / "m.parquet")
    assert built.manifest.counts() == {"val": 3_864}  # GIFs
    questions = [q for item in built.manifest for q in item.questions]
    assert len(questions) == len({q.key for q in questions}) == 3_939
    assert len(built.manifest.info.answers) == 1_540
    assert all(built.manifest.info.answers[q.label] == q.answer for q in questions)
    assert (built.coverage["val"].covered, built.coverage["val"].asked) == (3_939, 3_939)
    assert built.absent == ("train", "test")
