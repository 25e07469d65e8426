"""The manifest contract: what is written is read back, and every broken row is named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.errors import InputError
from data_specs.manifest import Item, ManifestInfo, Question, read_manifest, write_manifest

INFO = ManifestInfo("shapes", "shapes/first-caption", 3, {"annotations/train.jsonl": "ab" * 32})

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
questions = st.builds(Question, texts, texts, texts, st.lists(texts, max_size=3).map(tuple), st.integers(-1, 4), texts)
items = st.builds(
    Item,
    id=texts.filter(bool),
    path=st.sampled_from(["a.mp4", "ü/漢字 ✓.avi", "-x/..b/c"]),
    split=st.sampled_from(["train", "val", "test"]),
    media=st.sampled_from(["video", "image"]),
    captions=st.lists(texts, max_size=3).map(tuple),
    clip_start=st.none() | st.floats(0, 5),
    clip_end=st.none() | st.floats(6, 9),
    questions=st.lists(questions, max_size=2).map(tuple),
)


@settings(max_examples=40)
@given(st.lists(items, max_size=5, unique_by=lambda item: item.id))
def test_reading_gives_back_what_was_written(rows: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.parquet"
        write_manifest(path, rows, INFO)
        found = read_manifest(path)
    assert list(found) == rows
    assert found.info == INFO
    assert found.take(range(len(rows))) == rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Item("", "a.mp4", "train"), "row 1: column id is empty"),
        (Item("first", "a.mp4", "train"), "row 1: column id: 'first' already stands in row 0"),
        (Item("x", "a.mp4", "dev"), "row 1: column split: 'dev', allowed: train, val, test"),
        (Item("x", "a.mp4", "train", media="sound"), "row 1: column media: 'sound'"),
        (Item("x", "../a.mp4", "train"), "row 1: column path: '../a.mp4' is not a path below the media root"),
        (Item("x", "/etc/passwd", "train"), "row 1: column path"),
        (Item("x", "a\0.mp4", "train"), "row 1: column path"),
        (Item("x", "", "train"), "row 1: column path"),
        (Item("x", "a", "train", clip_start=2.0, clip_end=2.0), "row 1: clip_start 2.0 and clip_end 2.0"),
        (Item("x", "a", "train", clip_start=-1.0), "row 1: clip_start -1.0"),
        (Item("x", "a", "train", clip_start=float("nan"), clip_end=1.0), "row 1: clip_start nan"),
    ],
)
def test_a_broken_row_is_named_and_nothing_is_written(tmp_path: Path, row: Item, said: str) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(InputError) as error:
        write_manifest(path, [Item("first", "b.mp4", "train"), row], INFO)
    assert said in error.value.message
    assert list(tmp_path.iterdir()) == []


def test_counts_and_rows_of_a_split(tmp_path: Path) -> None:
    rows = [Item(f"v{n}", f"{n}.mp4", "test" if n % 3 == 0 else "train") for n in range(7)]
    manifest = write_manifest(tmp_path / "m.parquet", rows, INFO)
    assert manifest.counts() == {"train": 4, "test": 3}
    assert manifest.rows_of("test") == [0, 3, 6]
    assert manifest.rows_of() == list(range(7))
    with pytest.raises(InputError, match=r"split 'tset' has no rows.*did you mean test"):
        manifest.rows_of("tset")


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(InputError, match="no such manifest"):
        read_manifest(path)
    path.write_text("id,path\n")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_manifest(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(InputError, match="not a manifest of version 1"):
        read_manifest(path)
    for metadata in (b"{", b"[]", b'{"version": 2}', b'{"version": 1, "dataset": "d"}'):
        pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata({b"regionvlp.manifest": metadata}), path)
        with pytest.raises(InputError, match="not a manifest of version 1"):
            read_manifest(path)
    write_manifest(path, [Item("a", "a.mp4", "train")], INFO)
    pq.write_table(pq.read_table(path).drop_columns(["captions"]), path)
    with pytest.raises(InputError, match=r"not the manifest's columns \(missing: \['captions'\]"):
        read_manifest(path)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [Item(f"v{n}", f"{n}.mp4", "train", captions=("a", "b")) for n in range(5)]
    for name in ("one", "two"):
        write_manifest(tmp_path / name, rows, INFO)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
