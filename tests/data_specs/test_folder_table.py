"""A folder with a table of captions, its splits, and videos cut into clips."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from data_specs.__main__ import main
from data_specs.annotations.folder import FolderOptions, clips_of
from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.manifest import Item, read_manifest

CLIP = Path(__file__).parents[1] / "fixtures/msrvtt10/videos/all/video0.mp4"  # three seconds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four media files."""
    folder = tmp_path / "root"
    for name in ("a.mp4", "b/a.mp4", "b/only.jpg", "caf\u00e9.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def build(root: Path, text: str | bytes = "", name: str = "captions.csv", **options) -> Built:
    if text:
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return build_manifest("folder", root, root.parent / "m.parquet", folder=FolderOptions(**options))


def rows(root: Path, *arguments, **options) -> dict[str, Item]:
    return {item.id: item for item in build(root, *arguments, **options).manifest}


def refused(root: Path, *arguments, **options) -> str:
    with pytest.raises(InputError) as error:
        build(root, *arguments, **options)
    assert "\n" not in error.value.message
    assert not (root.parent / "m.parquet").exists()
    return error.value.message


def test_rows_of_a_csv_file(root: Path) -> None:
    text = '\ufeffother,caption,path\r\n1,"one, with ""quotes""\nand a line\tfeed",./a.mp4\r\n'
    text += ",two,a.mp4\r\n,x,b/only.jpg\r\n"
    found = rows(root, text)
    assert found["a.mp4"].captions == ('one, with "quotes"\nand a line\tfeed', "two")
    assert found["b/only.jpg"].captions == ("x",)
    assert found["b/a.mp4"].captions == ()
    assert list(build(root).manifest.info.sources) == ["captions.csv"]


def test_ids_name_a_file_by_as_much_as_is_its_own(root: Path) -> None:
    text = "id,caption\nonly,1\nb/only,2\nonly.jpg,3\nb/only.jpg,4\na.mp4,5\nb/a,6\ncafe\u0301,7\n"
    found = rows(root, text)
    assert found["b/only.jpg"].captions == ("1", "2", "3", "4")
    assert found["a.mp4"].captions == ("5",)
    assert found["b/a.mp4"].captions == ("6",)
    assert found["caf\u00e9.mp4"].captions == ("7",)
    assert "row 2: column id: 'a' could be any of a.mp4, b/a.mp4" in refused(copy_of(root), "id,caption\na,1\n")


def copy_of(root: Path) -> Path:
    copy = root.parent / "copy" / "root"
    shutil.copytree(root, copy)
    return copy


def test_rows_of_a_jsonl_file(root: Path) -> None:
    text = '{"path": "a.mp4", "captions": ["one\\r\\n", "two"], "split": "test"}\r\n\r\n{"id": "only", "caption": "x"}'
    found = rows(root, text, "captions.jsonl")
    assert (found["a.mp4"].captions, found["a.mp4"].split) == (("one\r\n", "two"), "test")
    assert (found["b/only.jpg"].captions, found["b/only.jpg"].split) == (("x",), "train")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,text\na.mp4,x\n", "captions.csv: row 1: no column 'caption', found: path, text"),
        ("file,caption\na.mp4,x\n", "captions.csv: row 2: no column 'path' or 'id', found: file, caption"),
        ("path,caption\na.mp4,x,y\n", "captions.csv: row 2: not 2 values"),
        ("path,caption\n", "captions.csv: row 1: no row follows"),
        ("path,caption\na.mp4,x\n ,y\n", "captions.csv: row 3: path: expected a text"),
        ("path,caption\na.mp4,x\n../a.mp4,y\n", "captions.csv: row 3: column path: '../a.mp4' is not a path below"),
        ("path,caption\n/etc/x.mp4,y\n", "captions.csv: row 2: column path: '/etc/x.mp4' is not a path below"),
        ("path,caption\na.doc,y\n", "captions.csv: row 2: column path: 'a.doc' is no video or image below"),
        ("path,caption\n.h.mp4,y\n", "captions.csv: row 2: column path: '.h.mp4' is hidden"),
        ("path,caption\na,y\n", "captions.csv: row 2: column path: 'a' is no video or image below"),
        ("path,caption\nx/a.mp4,y\nx/b.mp4,y\n", "captions.csv: row 2: 'x/a.mp4' and all other files that it names"),
        ("path,caption,split\na.mp4,x,dev\n", "row 2: column split: 'dev', allowed: train, val, validation, test"),
        ("path,caption,split\na.mp4,x,val\na.mp4,y,test\n", "row 3: split: test, but an earlier row says val"),
        ("path,caption\na.mp4#t=0-10,x\n", "row 2: 'a.mp4#t=0-10' is no clip of its video, as cut here"),
        ('path,caption\na.mp4,"x\n', "row 2: not CSV"),
        (b"path,caption\na.mp4,caf\xe9\n", "captions.csv: row 2: not UTF-8"),
    ],
)
def test_a_wrong_table_is_explained(root: Path, text: str | bytes, said: str) -> None:
    (root / ".h.mp4").touch()
    assert said in refused(root, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "captions.jsonl: row 1: expected an object"),
        ('{"path": "a.mp4"}', "row 1: no key 'caption' or 'captions', found: path"),
        ('{"path": NaN, "caption": "x"}', "row 1: path: expected a text, found nan"),
        ('{"path": "a.mp4", "caption": null}', "row 1: caption: expected a text"),
        ('{"path": "a\\ud800.mp4", "caption": "x"}', "row 1: path: expected a text"),
        ('{"path": "a.mp4", "caption": "x", "split": ["test"]}', "row 1: column split: ['test']"),
        ('{"path": "a\\u0000.mp4", "caption": "x"}', "row 1: column path"),
    ],
)
def test_a_wrong_line_of_json_is_explained(root: Path, text: str, said: str) -> None:
    assert said in refused(root, text, "captions.jsonl")


def test_two_tables_are_one_too_many(root: Path) -> None:
    (root / "captions.jsonl").touch()
    assert "both captions.csv and captions.jsonl" in refused(root, "path,caption\na.mp4,x\n")


def test_files_that_are_not_there_stay_in_the_manifest(root: Path) -> None:
    (root / "a.txt").write_text("not read")
    built = build(root, "path,caption\na.mp4,x\ngone/v.mkv,y\ngone.png,z\n")
    found = {item.id: item for item in built.manifest}
    assert found["gone/v.mkv"] == Item("gone/v.mkv", "gone/v.mkv", "train", captions=("y",))
    assert found["gone.png"].media == "image"
    assert len(found) == 6
    assert "files of captions.csv that are not there: 2 kept as rows (gone/v.mkv, gone.png)" in built.remarks
    assert "sidecar files: not read, since captions.csv is there" in built.remarks


def test_splits(tmp_path: Path) -> None:
    for name in ("train/a.mp4", "validation/b.mp4", "test/x/c.mp4", "more/test/d.mp4", "test.mp4"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    root = tmp_path / "root"
    built = build(root)
    splits = {"more/test/d.mp4": "train", "test.mp4": "train", "test/x/c.mp4": "test"}
    splits |= {"train/a.mp4": "train", "validation/b.mp4": "val"}
    assert {item.id: item.split for item in built.manifest} == splits
    assert any("2 are train where no table says otherwise (more/test/d.mp4, test.mp4)" in r for r in built.remarks)
    assert {item.split for item in build(root, split_all="test").manifest} == {"test"}
    by_table = rows(root, "path,caption,split\ntest.mp4,,val\nmore/test/d.mp4,x,test\ntest/x/c.mp4,x,test\n")
    splits |= {"test.mp4": "val", "more/test/d.mp4": "test"}
    assert {name: item.split for name, item in by_table.items()} == splits
    assert by_table["test.mp4"].captions == ()
    (root.parent / "m.parquet").unlink()
    assert "row 2: split: train, but 'test/x/c.mp4' is in the folder test" in refused(
        root, "path,caption,split\ntest/x/c.mp4,x,train\n"
    )


def test_clips_of_real_videos(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    shutil.copy(CLIP, root / "deep/a#t=0-1.mp4")
    shutil.copy(CLIP, root / "b.mp4")
    (root / "still.png").write_bytes(b"x")
    (root / "broken.mp4").write_bytes(b"not a video")
    (root / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nfirst\n\n2\n00:00:01,500 --> 00:00:03,000\nlast\n")
    built = build(root, clip_seconds=1.25)
    assert [(item.id, item.clip_start, item.clip_end, item.captions) for item in built.manifest] == [
        ("b.mp4#t=0-1.25", 0.0, 1.25, ("first",)),
        ("b.mp4#t=1.25-2.5", 1.25, 2.5, ("last",)),
        ("broken.mp4", None, None, ()),
        ("deep/a#t=0-1.mp4#t=0-1.25", 0.0, 1.25, ()),
        ("deep/a#t=0-1.mp4#t=1.25-2.5", 1.25, 2.5, ()),
        ("still.png", None, None, ()),
    ]
    assert "2 videos were cut into 4 clips" in built.remarks
    assert any("1 kept whole (broken.mp4: not_media)" in remark for remark in built.remarks)
    table = "path,caption\nb.mp4,of all\nb.mp4#t=1.25-2.5,of one\n"
    found = rows(root, table, clip_seconds=1.25)
    assert found["b.mp4#t=0-1.25"].captions == ("of all",)
    assert found["b.mp4#t=1.25-2.5"].captions == ("of all", "of one")


@given(st.integers(1, 10**6), st.integers(100, 10**6))
@example(150, 100)
def test_clips_cover_a_video_but_for_less_than_half_a_clip(length_ms: int, clip_ms: int) -> None:
    length, seconds = length_ms / 1000, clip_ms / 1000
    clips = clips_of(length, seconds)
    assert clips[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(clips))
    assert all(round((end - start) * 1000) == clip_ms for start, end in clips[:-1])
    last = round((clips[-1][1] - clips[-1][0]) * 1000)
    assert last <= clip_ms and (2 * last >= clip_ms or len(clips) == 1)
    left = round((length - clips[-1][1]) * 1000)
    assert 0 <= 2 * left < clip_ms


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.05, float("nan"), float("inf")])
def test_clips_have_a_length(seconds: float) -> None:
    with pytest.raises(InputError, match="give a length of at least"):
        FolderOptions(clip_seconds=seconds)


def test_the_command(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "m.parquet"
    root.mkdir()
    shutil.copy(CLIP, root / "-x.mp4")
    (root / "odd.heic").touch()
    arguments = ["build", "folder", "--root", str(root), "--out", str(out)]
    result = CliRunner().invoke(main, [*arguments, "--clip-seconds", "2", "--split-all", "test"])
    assert result.exit_code == 0, result.output
    assert "not media by their extension: 1 left out (.heic 1)" in result.output
    assert [(item.id, item.split) for item in read_manifest(out)] == [
        ("-x.mp4#t=0-2", "test"),
        ("-x.mp4#t=2-3", "test"),
    ]
    wrong = CliRunner().invoke(main, ["build", "shapes", "--root", str(root), "--out", str(out), "--split-all", "test"])
    assert wrong.exit_code == 2 and "for the data set 'folder' alone" in wrong.output
    assert len(wrong.output.strip().splitlines()) == 1
