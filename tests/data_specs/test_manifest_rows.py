"""The rules of rows, checked by columns, against a slow version that looks at one row after the other."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs import manifest as manifest_module
from data_specs.errors import InputError
from data_specs.manifest import SCHEMA, Item, ManifestInfo, Question, read_manifest, write_manifest
from data_specs.manifest_rows import check_rows

ALLOWED = {"split": ("train", "val", "test"), "media": ("video", "image")}
INFO = ManifestInfo("mine")

ids = st.none() | st.sampled_from(["", "a", "b", "c", "d", "e", "\n", "é"])
paths = st.sampled_from(
    ["a", "a/..", "..", "../a", "a/../b", "/a", "", "a\0b", "..a", "a..", "./a", "a\n..", "\n", "a//b"]
)
moments = st.none() | st.sampled_from([-1.0, 0.0, 1.0, 2.0, math.inf, math.nan])
splits = st.sampled_from(["train", "val", "test", "dev", None])
rows = st.tuples(ids, paths | st.none(), st.sampled_from(["video", "image", "sound"]), splits, moments, moments)
good = st.tuples(
    st.integers(0, 99).map(str), st.just("a"), st.just("video"), st.just("train"), st.none() | st.just(0.0), st.none()
)


def slow_version(found: list[tuple]) -> str | None:
    """What the first broken rule says, without the part that names the source."""
    seen: dict[str, int] = {}
    for row, (identifier, *_) in enumerate(found):
        if not identifier:
            return f"row {row}: column id is empty"
        if identifier in seen:
            return f"row {row}: column id: {identifier!r} already stands in row {seen[identifier]}"
        seen[identifier] = row
    for column, place in (("split", 3), ("media", 2)):
        for row, fields in enumerate(found):
            if fields[place] not in ALLOWED[column]:
                return f"row {row}: column {column}: {fields[place]!r}"
    for row, fields in enumerate(found):
        path = fields[1]
        if not path or path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
            return f"row {row}: column path: "
    for row, fields in enumerate(found):
        start = 0.0 if fields[4] is None else fields[4]
        end = math.inf if fields[5] is None else fields[5]
        if math.isnan(start) or math.isnan(end) or start < 0 or end <= start:
            return f"row {row}: clip_start {start} and clip_end {end} do not make a clip"
    return None


@settings(max_examples=300)
@given(st.lists(good, max_size=4, unique_by=lambda row: row[0]), st.lists(rows, max_size=3), st.integers(1, 3))
def test_columns_and_rows_agree(first: list[tuple], last: list[tuple], chunk: int) -> None:
    found = [*first, *last]
    names = ("id", "path", "media", "split", "clip_start", "clip_end")
    dictionaries = [dict(zip(names, row, strict=True)) | {"captions": [], "questions": []} for row in found]
    pieces = [pa.Table.from_pylist(dictionaries[at : at + chunk], schema=SCHEMA) for at in range(0, len(found), chunk)]
    table = pa.concat_tables(pieces) if pieces else SCHEMA.empty_table()
    expected = slow_version(found)
    if expected is None:
        check_rows(table, "m", ALLOWED)
        return
    with pytest.raises(InputError) as error:
        check_rows(table, "m", ALLOWED)
    assert error.value.message.startswith(" ".join(f"m: {expected}".split()))


def test_texts_that_utf8_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(InputError, match="row 1: a text is not valid Unicode"):
        write_manifest(path, [Item("a", "a", "train"), Item("b", "b\udcff", "train")], INFO)
    assert not path.exists()
    write_manifest(path, [Item("a", "a", "train")], INFO)
    table = pq.read_table(path)
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(table.set_column(0, table.schema.field("id"), broken), path)
    with pytest.raises(InputError, match="a column holds what it may not"):
        read_manifest(path)


def test_rows_of_several_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "_GROUP_ROWS", 7)
    monkeypatch.setattr(manifest_module, "_GROUP_LETTERS", 50)
    items = [Item(f"v{n}", "a", "val" if n % 3 else "test", captions=("x" * (n % 30),)) for n in range(60)]
    write_manifest(tmp_path / "m.parquet", items, INFO)
    found = read_manifest(tmp_path / "m.parquet")
    assert pq.ParquetFile(tmp_path / "m.parquet").num_row_groups > 60 // 7
    assert list(found) == items
    wanted = [59, 0, 0, 13, 14, 7, 6, 58]
    assert found.take(wanted) == [items[row] for row in wanted]
    assert found.take([]) == []
    assert found.rows_of("test") == list(range(0, 60, 3))
    assert found.counts() == {"test": 20, "val": 40}


@pytest.mark.parametrize("column", ["captions", "questions"])
def test_nulls_inside_lists_are_named_by_row(column: str, tmp_path: Path) -> None:
    whole = [Item(f"v{n}", f"{n}.mp4", "train", captions=("a",), questions=(Question("q", "a"),)) for n in range(3)]
    broken = {"captions": ("a", None), "questions": (Question("q", None),)}  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"row 2: column {column}"):
        write_manifest(
            tmp_path / "m.parquet", [*whole[:2], dataclasses.replace(whole[2], **{column: broken[column]})], INFO
        )
    assert len(write_manifest(tmp_path / "m.parquet", whole, INFO)) == 3
