"""WebVid: the official CSV and the authors' TSV in their published forms, traps included."""

from __future__ import annotations

import itertools
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.keys import decode_key, encode_key
from data_specs.manifest import read_manifest
from tests.data_specs.annotation_files import build, items, refused, table, write

HEADER = ("videoid", "contentUrl", "duration", "page_dir", "name", "page_idx")
TRAPS = [
    ("21179416", "000051_000100", "Aerial shot winter forest"),
    ("5629184", "010151_010200", 'Senior couple, "happy", looking through binoculars'),
    ("1063125190", "", "A beautiful cookie with oranges"),  # no page_dir
    ("15239770", "129501_129550", "First line\nsecond line\r\nthird, with a\ttab"),
    ("1010", "a_b", "🙂 漢字 " + "long " * 100),
]
TRAIN, VAL = "results_2M_train.csv", "results_2M_val.csv"
AUTHORS_VAL = "meta_data/webvid_validation_success_full.tsv"


def official(rows: list[tuple[str, str, str]], columns: tuple[str, ...] = HEADER, end: str = "\n") -> str:
    body = []
    for video, folder, caption in rows:
        values = {"videoid": video, "page_dir": folder, "name": caption, "page_idx": 3, "duration": "PT00H00M16S"}
        values["contentUrl"] = f"https://example.invalid/{video}.mp4"
        body.append([values[name] for name in columns])
    return table([columns, *body], ",", end)


def authors(rows: list[tuple[str, str, str]]) -> str:
    return table((caption, f"{folder}/{video}" if folder else video) for video, folder, caption in rows)


def expected(rows: list[tuple[str, str, str]], split: str) -> list[tuple]:
    places = (f"videos/{folder}/{video}.mp4" if folder else f"videos/{video}.mp4" for video, folder, _ in rows)
    return [(video, place, split, (said,)) for (video, _, said), place in zip(rows, places, strict=True)]


def found(root: Path) -> list[tuple]:
    return [(item.id, item.path, item.split, item.captions) for item in items("webvid", root)]


@pytest.mark.parametrize(
    "columns", [HEADER, HEADER[::-1], ("name", "page_dir", "videoid"), ("page_dir", *HEADER[4::-4])]
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_official_columns_in_any_order(tmp_path: Path, columns: tuple[str, ...], start: bytes) -> None:
    write(tmp_path / TRAIN, start + official(TRAPS, columns, "\r\n").encode())
    write(tmp_path / VAL, official([("9", "p", "a dog")], columns))
    assert found(tmp_path) == expected(TRAPS, "train") + expected([("9", "p", "a dog")], "val")
    built = build("webvid", tmp_path)
    assert built.forms == {"train": "official", "val": "official"} and built.absent == ()
    assert set(built.manifest.info.sources) == {TRAIN, VAL}
    assert {item.media for item in built.manifest} == {"video"}


def test_the_authors_files_lose_no_row(tmp_path: Path) -> None:
    write(tmp_path / AUTHORS_VAL, authors(TRAPS))
    assert found(tmp_path) == expected(TRAPS, "val")
    built = build("webvid", tmp_path)
    assert built.forms == {"val": "authors'"} and built.absent == ("train",)


def test_the_official_file_wins_and_splits_may_differ_in_form(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, official(TRAPS[:2]))
    write(tmp_path / "webvid_training_success_full.tsv", authors(TRAPS[2:]))
    write(tmp_path / AUTHORS_VAL, authors(TRAPS[3:]))
    assert found(tmp_path) == expected(TRAPS[:2], "train") + expected(TRAPS[3:], "val")
    assert build("webvid", tmp_path).forms == {"train": "official", "val": "authors'"}


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=12)
ids = words.filter(lambda text: text.strip() and text.strip().lower() != "nan")


@settings(max_examples=40)
@given(st.lists(st.tuples(ids, st.just("p"), ids), min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_any_text_and_id_come_back_or_the_row_is_refused(rows: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / TRAIN, official(rows, end="\r\n"))
        if any(".." in video.split("/") or f"{video}.mp4".startswith("../") for video, _, _ in rows):
            assert f"{path}: row " in refused("webvid", Path(folder))
            return
        manifest = build("webvid", Path(folder)).manifest
        assert read_manifest(Path(folder) / "m.parquet").info.sources == {TRAIN: sha256(path.read_bytes()).hexdigest()}
        assert [(item.id, item.captions) for item in manifest] == [(video, (said,)) for video, _, said in rows]
        for item in manifest:
            assert encode_key(item.id).isascii() and decode_key(encode_key(item.id)) == item.id
            assert (Path("/data") / item.path).as_posix().startswith("/data/videos/p")


@pytest.mark.parametrize("nothing", ["", "nan", "NaN", " "])
def test_rows_without_page_dir(tmp_path: Path, nothing: str) -> None:
    write(tmp_path / TRAIN, official([("7", nothing, "a cat")]))
    assert found(tmp_path) == [("7", "videos/7.mp4", "train", ("a cat",))]


@pytest.mark.parametrize(
    ("file", "train", "val"),
    [
        ("videos/p/1.mp4", "videos/p/1.mp4", "videos/q/2.mp4"),
        ("train/p/1.mp4", "train/p/1.mp4", "val/q/2.mp4"),
        ("videos/1.mp4", "videos/1.mp4", "videos/2.mp4"),
    ],
)
def test_media_layouts(tmp_path: Path, file: str, train: str, val: str) -> None:
    write(tmp_path / file, b"x")
    write(tmp_path / TRAIN, official([("1", "p", "a")]))
    write(tmp_path / VAL, official([("2", "q", "b")]))
    assert [item.path for item in items("webvid", tmp_path)] == [train, val]


@pytest.mark.parametrize("video", ["a/b", "a.b.c", "-rf", "🙂 x", "..a", "%2e", "x" * 200])
def test_odd_ids_are_kept(tmp_path: Path, video: str) -> None:
    write(tmp_path / TRAIN, official([(video, "p", "a")]))
    (item,) = items("webvid", tmp_path)
    assert (item.id, item.path) == (video, f"videos/p/{video}.mp4")


def test_a_caption_of_ten_megabytes(tmp_path: Path) -> None:
    long = "word, " * (10 * 2**20 // 6)
    write(tmp_path / TRAIN, official([("1", "p", long), ("2", "p", "b")]))
    assert [len(item.captions[0]) for item in items("webvid", tmp_path)] == [len(long), 1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("1", "p", "a\nb"), ("", "p", "b")], "row 4: videoid: expected an id, found ''"),
        ([("1", "p", "a"), ("nan", "p", "b")], "row 3: videoid: expected an id, found 'nan'"),
        ([("1", "p", "a"), ("2", "p", "b"), ("1", "q", "c")], "row 4: videoid: '1' already stands in row 2"),
        ([("1", "p", " ")], "row 2: caption: expected a caption"),
        ([("../../etc/x", "p", "a")], "row 2: 'videos/p/../../etc/x.mp4' is not a path below the media root"),
        ([("x", "..", "a")], "row 2: 'videos/../x.mp4' is not a path below the media root"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[tuple[str, str, str]], said: str) -> None:
    path = write(tmp_path / TRAIN, official(rows))
    message = refused("webvid", tmp_path)
    assert f"{path}: {said}" in message


def test_an_id_in_both_splits_is_named_with_both_files(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, official([("1", "p", "a")]))
    write(tmp_path / VAL, official([("2", "p", "a"), ("1", "p", "a")]))
    assert f"{VAL}: row 3: videoid: '1' already stands in row 2 of {tmp_path / TRAIN}" in refused("webvid", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (TRAIN, b"video_id,name,page_dir\n1,a,p\n", "row 1: no column 'videoid', found: video_id, name, page_dir"),
        (TRAIN, b"videoid,name\n1,a\n", "row 1: no column 'page_dir'"),
        (TRAIN, b"videoid,name,page_dir\n1,a\n", "row 2: not 3 values, but 2"),
        (TRAIN, b'videoid,name,page_dir\n1,a,p\n2,"a,p\n3,a,p\n', "row 3: not CSV"),
        (TRAIN, b"videoid,name,page_dir\n1,\xff,p\n", "row 2: not UTF-8"),
        (AUTHORS_VAL, b"a\tp/1\r\nb\r\n", "row 2: not 2 values, but 1"),
        (AUTHORS_VAL, b"a\tp/\r\n", "row 1: videoid: expected an id"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = write(tmp_path / name, content)
    assert f"{path}: {said}" in refused("webvid", tmp_path)


def test_no_file_at_all_says_what_is_expected_where(tmp_path: Path) -> None:
    message = refused("webvid", tmp_path)
    for part in itertools.chain((TRAIN, VAL), ("from: the WebVid page",)):
        assert part in message
