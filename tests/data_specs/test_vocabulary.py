"""Vocabularies of answers from each kind of file, and one line for what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.manifest import Item, ManifestInfo, write_manifest
from data_specs.vocabulary import read_answers

ANSWERS = ("two", "a red ring", "été")


def test_every_kind_gives_the_answers_by_label(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufefftwo\r\na red ring\r\nété".encode())
    (tmp_path / "a.json").write_text(json.dumps({"été": 2, "two": 0, "a red ring": 1}))
    write_manifest(tmp_path / "a.parquet", [Item("1", "1.mp4", "train")], ManifestInfo("made-up", answers=ANSWERS))
    for name in ("a.txt", "a.json", "a.parquet"):
        assert read_answers(tmp_path / name) == ANSWERS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"one\ntwo\none\n", "row 3: answer 'one' already stands in row 1"),
        ("a.txt", b"one\n\ntwo\n", "row 2: is blank"),
        ("a.txt", b"\n", "holds no answer"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.json", b"[", "not JSON"),
        ("a.json", b'["one"]', "expected an object of answer to label, found list"),
        ("a.json", b'{"one": 0, "two": 0}', "label 0 is that of 'one' too"),
        ("a.json", b'{"one": 0, "two": 2}', "label 2 is not one of 0 to 1"),
        ("a.parquet", b"no", "not a readable Parquet file"),
    ],
)
def test_what_is_no_vocabulary_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_answers(tmp_path / name)
    assert said in caught.value.message and str(tmp_path / name) in caught.value.message


def test_a_manifest_without_answers_and_no_file_say_the_way_out(tmp_path: Path) -> None:
    write_manifest(tmp_path / "a.parquet", [Item("1", "1.mp4", "train")], ManifestInfo("made-up"))
    with pytest.raises(InputError, match=r"protocol has no answer vocabulary; .* one answer a line"):
        read_answers(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no such file; give a manifest"):
        read_answers(tmp_path / "absent.txt")
