"""Anybody's own folder: what counts as media, what its captions are, and names that break programs."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.annotations.folder import FolderOptions
from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.keys import decode_key, encode_key
from data_specs.manifest import Item, read_manifest

NAMES = (
    "a b.mp4",
    "-i.mp4",
    "ü 漢字 🎬.mkv",
    "a%03d.mp4",
    "..",
    "two\nlines.mp4",
    "a.b..c.MP4",
    "'q\" \\.jpg",
    "%2F.png",
)


def make(root: Path, *names: str, content: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")


def build(root: Path, **options) -> Built:
    """The manifest, written outside the folder and read again."""
    with tempfile.TemporaryDirectory() as out:
        built = build_manifest("folder", root, Path(out) / "m.parquet", folder=FolderOptions(**options))
        assert list(read_manifest(Path(out) / "m.parquet")) == list(built.manifest)
    return built


def rows(root: Path, **options) -> dict[str, Item]:
    return {item.id: item for item in build(root, **options).manifest}


def captions(root: Path) -> dict[str, tuple[str, ...]]:
    return {name: item.captions for name, item in rows(root).items()}


def refused(root: Path, **options) -> str:
    with pytest.raises(InputError) as error:
        build(root, **options)
    assert "\n" not in error.value.message
    return error.value.message


def test_media_of_any_nesting_without_captions(tmp_path: Path) -> None:
    make(tmp_path, "b.mp4", "a/c/d.JPG", "a/c.webm", "a/c/e.GIF", "z.jpeg")
    found = build(tmp_path)
    assert [(item.id, item.path, item.media, item.split) for item in found.manifest] == [
        ("a/c.webm", "a/c.webm", "video", "train"),
        ("a/c/d.JPG", "a/c/d.JPG", "image", "train"),
        ("a/c/e.GIF", "a/c/e.GIF", "video", "train"),
        ("b.mp4", "b.mp4", "video", "train"),
        ("z.jpeg", "z.jpeg", "image", "train"),
    ]
    assert all(item.captions == () for item in found.manifest)
    assert found.remarks == ()
    assert found.manifest.info.protocol == "folder/first-caption"


def test_names_that_break_programs(tmp_path: Path) -> None:
    names = [name for name in NAMES if name != ".."] + ["x..y/--help.mp4", "~/$HOME.mov", "é.mp4", "e\u0301.mp4"]
    make(tmp_path, *names)
    found = rows(tmp_path)
    assert sorted(found) == sorted(names)
    for name, item in found.items():
        assert (tmp_path / item.path).is_file()
        assert "/" not in encode_key(name) and "." not in encode_key(name)
        assert decode_key(encode_key(name)) == name


def test_a_name_that_is_not_utf8_is_refused_and_named(tmp_path: Path) -> None:
    make(tmp_path, "good.mp4", "notes.xyz")
    (tmp_path / os.fsdecode(b"not media \xff.xyz")).touch()
    assert list(rows(tmp_path)) == ["good.mp4"]
    (tmp_path / os.fsdecode(b"f\xff")).mkdir()
    (tmp_path / os.fsdecode(b"f\xff/caf\xe9.mp4")).touch()
    said = refused(tmp_path)
    assert r"f\udcff/caf\udce9.mp4" in said and "1 names" in said and "rename them" in said
    said.encode("utf-8")


def test_what_is_not_media_is_counted_and_named(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", ".hidden.mp4", ".git/b.mp4", "._a.mp4", "c.mp4.part", "d.mp4.crdownload")
    make(tmp_path, "e.heic", "f.HEIC", "g.docx", "README", "notes.txt", "deep/captions.csv")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    found = build(tmp_path)
    assert [item.id for item in found.manifest] == ["a.mp4"]
    assert found.remarks == (
        "hidden files and folders: 3 left out (._a.mp4, .git, .hidden.mp4)",
        "partial downloads: 2 left out (c.mp4.part, d.mp4.crdownload)",
        "pipes, sockets and devices: 1 left out (pipe.mp4)",
        "not media by their extension: 5 left out (.heic 2, .csv 1, .docx 1, no extension 1)",
        "text files that belong to no video or image: 1 left out (notes.txt)",
    )


def test_links_never_lead_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-outside"
    make(root, "real/a.mp4")
    make(outside, "secret.mp4", "captions.csv")
    (root / "inside.mp4").symlink_to("real/a.mp4")
    (root / "out.mp4").symlink_to(outside / "secret.mp4")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "nowhere.mp4").symlink_to("gone.mp4")
    found = build(root)
    assert [item.id for item in found.manifest] == ["inside.mp4", "real/a.mp4"]
    assert "links that lead out of the folder: 2 left out (folder, out.mp4)" in found.remarks
    assert "links that lead nowhere: 1 left out (nowhere.mp4)" in found.remarks
    assert any(remark.startswith("links to folders") and "(loop)" in remark for remark in found.remarks)
    (root / "captions.csv").symlink_to(outside / "captions.csv")
    assert "a link that leads out of the folder" in refused(root)


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "a.xyz", "b.xyz")
    assert "no video or image is in it" in refused(tmp_path) and ".xyz 2" in refused(tmp_path)
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_sidecars(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d/e.jpg", "f.mp4", "g.mp4", "h.mp4", "i.mp4", "none.mp4")
    make(tmp_path, "a.txt", content="\ufeffone\r\n\r\n two\twith tab\u2028and separator \r\nthree")
    make(tmp_path, "b.json", content='{"captions": ["x\\ny", "z"]}')
    make(tmp_path, "c.json", content='{"caption": "\\"q\\"", "other": 1}')
    make(tmp_path, "d/e.JSON", content='["p", "q", " "]')
    make(tmp_path, "f.srt", content="1\n00:00:00,000 --> 00:00:01,000\nheard\n\n2\n00:00:01,000 --> 00:00:02,000\nit")
    make(tmp_path, "g.mp4.vtt", content="WEBVTT\n\n00:00.000 --> 00:01.000\n<i>seen</i>")
    make(tmp_path, "h.de.vtt", content="WEBVTT\n\n00:00.000 --> 00:01.000\nhallo")
    make(tmp_path, "h.en-GB.vtt", content="WEBVTT\n\n00:00.000 --> 00:01.000\nhello")
    make(tmp_path, "i.txt", content="first")
    make(tmp_path, "i.srt", content="second")
    assert captions(tmp_path) == {
        "a.mp4": ("one", " two\twith tab\u2028and separator ", "three"),
        "b.mp4": ("x\ny", "z"),
        "c.mp4": ('"q"',),
        "d/e.jpg": ("p", "q"),
        "f.mp4": ("heard it",),
        "g.mp4": ("seen",),
        "h.mp4": ("hello",),
        "i.mp4": ("first",),
        "none.mp4": (),
    }
    assert list(build(tmp_path).manifest.info.sources) == ["8 sidecar files"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "a.json: row 1: not JSON"),
        ("a.json", '{"text": "x"}', "a.json: row 1: expected"),
        ("a.json", '{"captions": "x"}', "a.json: row 1: captions: expected a list of texts"),
        ("a.json", '["\\ud800"]', "a.json: row 1: captions: expected a list of texts"),
        ("a.srt", "no cue", "a.srt: row 1: no line with -->"),
        ("a.vtt", "WEBVTT\n\n00:01 --> x\n", "a.vtt: row 3: '00:01 --> x'"),
    ],
)
def test_a_wrong_sidecar_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    make(tmp_path, "a.mp4")
    make(tmp_path, name, content=content)
    assert said in refused(tmp_path)


def test_a_sidecar_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    (tmp_path / "a.txt").write_bytes(b"fine\ncaf\xe9\n")
    assert "a.txt: row 2: not UTF-8" in refused(tmp_path)


def test_a_caption_of_ten_megabytes(tmp_path: Path) -> None:
    long = 'word, "quoted"\r\n' * 700_000
    make(tmp_path, "a.mp4", "b.mp4")
    make(tmp_path, "captions.csv", content=table([("path", "caption"), ("a.mp4", long), ("b.mp4", "short")]))
    assert captions(tmp_path) == {"a.mp4": (long,), "b.mp4": ("short",)}


def table(rows: list[tuple[str, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda part: not part.startswith(".") and len(part.encode()) < 60
)
paths = st.builds(
    lambda folders, stem, extension: "/".join([*(f"{folder}_" for folder in folders), f"{stem}.{extension}"]),
    st.lists(parts, max_size=2),
    parts,
    st.sampled_from(["mp4", "jpg", "MKV"]),
)


@settings(max_examples=50)
@given(st.dictionaries(paths, st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_any_text_of_any_name_comes_back(said: dict[str, list[str]], as_csv: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, *said)
        if as_csv:
            lines = [(path, caption) for path, captions in said.items() for caption in captions]
            make(root, "captions.csv", content=table([("path", "caption"), *lines]))
        else:
            objects = [json.dumps({"path": path, "captions": captions}) for path, captions in said.items()]
            make(root, "captions.jsonl", content="\n".join(objects))
        found = rows(root)
    expected = {path.removeprefix("./"): tuple(captions) for path, captions in said.items()}
    assert {name: item.captions for name, item in found.items()} == expected
    assert list(found) == sorted(found)
    assert all(item.path == name for name, item in found.items())
