"""DiDeMo: paragraphs from the official JSON and the authors' TSV, and the authors' published files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from data_specs.build import build_manifest
from data_specs.spec import load_spec
from tests.data_specs.annotation_files import build, items, published, refused, table, write

TRAIN, VAL, TEST = (f"{name}_data.json" for name in ("train", "val", "test"))
AUTHORS_TEST = "meta_data/DiDeMo_test.tsv"
ROWS = [
    ("1@N08_2_ab.mov", "camera pans left.\n"),
    ("3@N00_4_cd.", "a dog, then a cat"),
    ("1@N08_2_ab.avi", 'he says "hi"'),  # the first video's second name
    ("5@N00_6_ef.mp4", "one"),
    ("1@N08_2_ab.mov", "the end"),
]
PARAGRAPHS = {
    "1@N08_2_ab": ("camera pans left.\n", 'he says "hi"', "the end"),
    "3@N00_4_cd": ("a dog, then a cat",),
    "5@N00_6_ef": ("one",),
}


def official(rows: list[tuple[object, object]]) -> str:
    return json.dumps(
        [
            {"annotation_id": n, "description": said, "video": video, "times": [[0, 0]] * 4, "num_segments": 6}
            for n, (video, said) in enumerate(rows)
        ]
    )


def authors(paragraphs: dict[str, tuple[str, ...]]) -> str:
    return table(
        ("".join(f"{said}, " for said in descriptions), f"{stem}.mp4") for stem, descriptions in paragraphs.items()
    )


@pytest.mark.parametrize(("protocol", "separator"), [("paragraph", ", "), ("paragraph-space", " ")])
def test_official_descriptions_make_a_paragraph_a_stem(tmp_path: Path, protocol: str, separator: str) -> None:
    write(tmp_path / TEST, official(ROWS))
    found = [(item.id, item.path, item.captions) for item in items("didemo", tmp_path, protocol)]
    assert found == [(stem, f"videos/{stem}.mp4", (separator.join(said),)) for stem, said in PARAGRAPHS.items()]
    assert build("didemo", tmp_path, protocol).forms == {"test": "official"}


def test_both_forms_give_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path / "official" / TEST, official(ROWS))
    write(tmp_path / "authors" / AUTHORS_TEST, authors(PARAGRAPHS))
    assert items("didemo", tmp_path / "official") == items("didemo", tmp_path / "authors")
    built = build("didemo", tmp_path / "authors")
    assert built.forms == {"test": "authors'"} and built.absent == ("train", "val")


def test_the_official_file_wins(tmp_path: Path) -> None:
    write(tmp_path / AUTHORS_TEST, authors(PARAGRAPHS))
    write(tmp_path / "data" / TEST, official(ROWS[:1]))
    assert [item.id for item in items("didemo", tmp_path)] == ["1@N08_2_ab"]


def test_joined_paragraphs_cannot_be_joined_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path / AUTHORS_TEST, authors(PARAGRAPHS))
    message = refused("didemo", tmp_path, "paragraph-space")
    assert (
        f"{path}: its descriptions are joined by ', ' already" in message and f"official {tmp_path / TEST}" in message
    )


def test_media_of_any_suffix(tmp_path: Path) -> None:
    write(tmp_path / TEST, official(ROWS))
    for name in ("videos/1@N08_2_ab.mov", "3@N00_4_cd.", "videos/other.avi"):
        write(tmp_path / name, b"x")
    assert [item.path for item in items("didemo", tmp_path)] == [
        "videos/1@N08_2_ab.mov",
        "3@N00_4_cd.",
        "videos/5@N00_6_ef.mp4",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (TEST, "{}", "expected a list of descriptions, found dict"),
        (TEST, official([("a.mp4", "x"), ("", "y")]), "row 1: video: expected a text, found ''"),
        (TEST, official([("a.mp4", "x"), (float("nan"), "y")]), "row 1: video: expected a text, found nan"),
        (TEST, official([("nan", "y")]), "row 0: video: expected an id, found 'nan'"),
        (TEST, official([("a.mp4", " ")]), "row 0: description: expected a text"),
        (TEST, official([("../a.mp4", "x")]), "row 0: 'videos/../a.mp4' is not a path below the media root"),
        (AUTHORS_TEST, "a, \tv.mp4\r\nb, \tv.mov\r\n", "row 2: video: 'v' already stands in row 1"),
        (AUTHORS_TEST, ", \tv.mp4\r\n", "row 1: description: expected a caption"),
        (AUTHORS_TEST, "a, \tv.mp4\tx\r\n", "row 1: not 2 values, but 3"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = write(tmp_path / name, content)
    assert f"{path}: {said}" in refused("didemo", tmp_path)


def test_a_video_in_two_splits_is_named(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, official([("a.mp4", "x")]))
    path = write(tmp_path / VAL, official([("b.mp4", "x"), ("a.mov", "x")]))
    assert f"{path}: row 1: video: 'a' already stands in row 0 of {tmp_path / TRAIN}" in refused("didemo", tmp_path)


def test_the_published_files(tmp_path: Path) -> None:
    built = build_manifest("didemo", published("didemo"), tmp_path / "m.parquet")
    assert built.manifest.counts() == {"train": 8_392, "val": 1_065, "test": 1_004}
    splits = load_spec("didemo").protocols["paragraph"].splits
    assert built.manifest.counts() == {name: split.videos for name, split in splits.items()}
    assert set(built.forms.values()) == {"authors'"}
    rows = list(built.manifest)
    assert all(len(item.captions) == 1 and item.path == f"videos/{item.id}.mp4" for item in rows)
    assert sum("\n" in item.captions[0] for item in rows if item.split == "test") == 7
    assert not any(item.captions[0].endswith(", ") for item in rows)
    with (published("didemo") / "DiDeMo_test.tsv").open(newline="", encoding="utf-8") as stream:
        first = next(csv.reader(stream, delimiter="\t"))
    (test,) = [item for item in rows if item.split == "test" and f"{item.id}.mp4" == first[1]]
    assert test.captions[0] + ", " == first[0]  # the release loses this row
