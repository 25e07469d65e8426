"""Media paths: filled in as they are, and never outside the root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.annotations.places import MediaTemplate, below
from data_specs.errors import InputError
from data_specs.spec import load_spec

SOURCE = Path("a.csv")


@given(st.lists(st.text(st.sampled_from("ab./\0 -é"), max_size=4), max_size=4).map("/".join))
def test_a_path_is_below_the_root_or_refused(place: str) -> None:
    try:
        found = below(SOURCE, 3, place)
    except InputError as error:
        assert "a.csv: row 3: " in error.message
        assert place.startswith("/") or ".." in place.split("/") or "\0" in place
        return
    assert not PurePosixPath(found).is_absolute() and ".." not in PurePosixPath(found).parts
    assert PurePosixPath(found) == PurePosixPath(place)


@pytest.mark.parametrize("name", ["-x", "..mp4", "a..b", "🙂 b", "{id}", "%2e%2e"])
def test_odd_names_stay(tmp_path: Path, name: str) -> None:
    template = MediaTemplate(load_spec("tgif"), tmp_path, ("id",))
    assert template.fill(SOURCE, 1, id=name) == f"gifs/{name}.gif"


def test_an_empty_value_drops_its_folder(tmp_path: Path) -> None:
    template = MediaTemplate(load_spec("webvid"), tmp_path, ("id", "page_dir", "split"))
    assert template.fill(SOURCE, 1, id="7", page_dir="", split="val") == "videos/7.mp4"
    with pytest.raises(InputError, match=r"a.csv: row 9: 'videos/../../7.mp4' is not a path below the media root"):
        template.fill(SOURCE, 9, id="7", page_dir="../..", split="val")


@pytest.mark.parametrize("wrong", ["{id}/{page}.mp4", "{id.__class__}", "{id[0]}"])
def test_a_placeholder_that_the_format_has_not(tmp_path: Path, wrong: str) -> None:
    spec = load_spec("webvid").model_copy(update={"media_paths": ("{id}.mp4", wrong)})
    with pytest.raises(InputError, match=r"webvid: media_paths: .* format webvid has no"):
        MediaTemplate(spec, tmp_path, ("id", "page_dir"))
