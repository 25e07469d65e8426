"""Media by stem: any video suffix, a bare dot, two suffixes; one rule where several files fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_specs.annotations.stems import Stems, stem_of
from data_specs.spec import load_spec
from tests.data_specs.annotation_files import write


@pytest.mark.parametrize(
    ("name", "stem"), [("a.mp4", "a"), ("a.", "a"), ("a", "a"), ("a.b.mov", "a.b"), (".hidden", ".hidden"), ("..", ".")]
)
def test_stem(name: str, stem: str) -> None:
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ([], "videos/v.mp4"),
        (["videos/v.mov"], "videos/v.mov"),
        (["videos/v.AVI"], "videos/v.AVI"),
        (["videos/v."], "videos/v."),
        (["videos/v"], "videos/v"),
        (["videos/v.mov.mp4"], "videos/v.mov.mp4"),
        (["v.3gp"], "v.3gp"),
        (["v.mp4", "videos/v.mov"], "videos/v.mov"),
        (["videos/v.mov", "videos/v.mp4", "videos/v.avi"], "videos/v.mp4"),
        (["videos/v.mov", "videos/v.avi"], "videos/v.avi"),
        (["videos/v.txt", "videos/v.json", "videos/w.mp4", "videos/sub/v.mp4", "videos/vv.mp4"], "videos/v.mp4"),
    ],
)
def test_the_file_of_a_stem(tmp_path: Path, files: list[str], place: str) -> None:
    for file in files:
        write(tmp_path / file, b"x")
    assert Stems(load_spec("didemo"), tmp_path).place("v") == place
