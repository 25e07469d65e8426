"""The check of the media: finds every planted fault and no other; says so in a table, a file and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.__main__ import main
from data_specs.check import Checked, check_media
from data_specs.errors import InputError
from data_specs.manifest import Item, ManifestInfo, write_manifest

CLIP = Path(__file__).parents[1] / "fixtures/msrvtt10/videos/all/video0.mp4"  # three seconds
INFO = ManifestInfo("mine")
FAULTS = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "not_media": lambda path: path.mkdir(),
    "": lambda path: path.write_bytes(b"x"),
}

parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=9)
names = st.builds(lambda folder, name: f"{folder}_/{name}_", parts, parts)


def found(checked: Checked) -> dict[str, str]:
    return {failure.id: failure.reason.value for _, _, failure in checked.faults()}


@settings(max_examples=40)
@given(
    st.dictionaries(names, st.sampled_from(sorted(FAULTS)), max_size=6),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["train", "val", "test"])), max_size=12),
    st.integers(1, 3),
)
def test_every_planted_fault_is_found_and_no_other(planted: dict, picks: list[tuple[int, str]], threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for name, fault in planted.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            FAULTS[fault](root / name)
        root.mkdir(exist_ok=True)
        paths = list(planted)
        rows = [
            Item(f"{n}\n{paths[pick % len(paths)]}", paths[pick % len(paths)], split)
            for n, (pick, split) in enumerate(picks)
            if paths
        ]
        manifest = write_manifest(Path(folder) / "m.parquet", rows, INFO)
        checked = check_media(manifest, root, threads=threads)
        checked.write(Path(folder) / "out.jsonl")
        lines = (Path(folder) / "out.jsonl").read_text(encoding="utf-8").split("\n")
    expected = {item.id: planted[item.path] for item in rows if planted[item.path]}
    assert found(checked) == expected
    assert checked.num_faults == len(expected)
    assert [json.loads(line)["id"] for line in lines[:-1]] == [item.id for item in rows if item.id in expected]
    for split, count in checked.splits.items():
        reasons = Counter(planted[item.path] for item in rows if item.split == split)
        assert (count.rows, count.missing, count.empty, count.unreadable) == (
            reasons.total(),
            reasons["missing"],
            reasons["empty"],
            reasons["not_media"],
        )
        assert count.on_disk == reasons.total() - reasons["missing"] - reasons["empty"]
    assert sum(count.rows for count in checked.splits.values()) == len(rows)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with a fault of every kind, two of which only ffprobe sees."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(CLIP, root / "good.mp4")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("no video")
    (root / "cut.mp4").write_bytes(CLIP.read_bytes()[:200])
    (root / "folder.mp4").mkdir()
    (root / "file").touch()
    return root


def items() -> list[Item]:
    names = ["good", "gone", "empty", "text", "cut", "folder"]
    rows = [Item(name, f"{name}.mp4", "test") for name in names]
    rows += [Item("good#1", "good.mp4", "train", clip_start=1.0, clip_end=2.0)]
    rows += [Item("good#9", "good.mp4", "train", clip_start=9.0, clip_end=12.0)]
    return [*rows, Item("below a file", "file/x.mp4", "val"), Item("long", "y" * 300 + ".mp4", "val")]


SEEN = {
    "gone": "missing",
    "empty": "empty",
    "folder": "not_media",
    "below a file": "missing",
    "long": "missing",
}


def test_looking(tmp_path: Path, media: Path) -> None:
    checked = check_media(write_manifest(tmp_path / "m.parquet", items(), INFO), media)
    assert found(checked) == SEEN
    details = {failure.id: failure.detail for _, _, failure in checked.faults()}
    assert details["gone"] == details["below a file"] == "no such file"
    assert details["long"] == os.strerror(36)


def test_probing(tmp_path: Path, media: Path) -> None:
    checked = check_media(write_manifest(tmp_path / "m.parquet", items(), INFO), media, probing=True, threads=3)
    reasons = found(checked)
    assert reasons.pop("cut") in ("truncated", "no_video_stream")
    assert reasons == SEEN | {"text": "not_media", "good#9": "truncated"}
    details = {failure.id: failure.detail for _, _, failure in checked.faults()}
    assert details["good#9"] == "the clip starts at 9 s, past the end, 3.000 s"
    assert checked.splits["test"].unreadable == 3
    assert not any(str(media) in detail for detail in details.values())


def test_a_file_of_many_clips_is_looked_at_once(tmp_path: Path, media: Path) -> None:
    rows = [Item(str(n), "good.mp4", "train", clip_start=n / 100, clip_end=3.0) for n in range(100)]
    told: list[tuple[int, int]] = []
    manifest = write_manifest(tmp_path / "m.parquet", rows, INFO)
    checked = check_media(manifest, media, probing=True, progress=lambda done, total: told.append((done, total)))
    assert checked.num_faults == 0
    assert told == [(1, 1)]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def cells(result: Result) -> list[list[str]]:
    return [line.replace("│", " ").split() for line in result.output.splitlines()]


def test_the_command_says_what_is_expected_and_what_is_there(
    tmp_path: Path, ten_manifest_path: Path, ten_videos: Path
) -> None:
    whole = run(ten_manifest_path, "--root", ten_videos, "--probe", "--threads", "2")
    assert whole.exit_code == 0, whole.output
    assert ["train", "9,000", "6", "6", "0", "0", "0"] in cells(whole)
    root = tmp_path / "root"
    shutil.copytree(ten_videos, root)
    (root / "videos/all/video0.mp4").unlink()
    (root / "videos/all/video1.mp4").write_bytes(b"")
    found = run(ten_manifest_path, "--root", root)
    assert found.exit_code == 1
    assert ["train", "9,000", "6", "4", "1", "1", "not", "probed"] in cells(found)
    assert "'video0'" in found.output and "missing: no such file" in found.output and "empty: 0 bytes" in found.output
    out = tmp_path / "deep/missing.jsonl"
    assert run(ten_manifest_path, "--root", root, "--out", out).exit_code == 1
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["video0", "video1"]
    assert lines[0].keys() == {"id", "split", "path", "reason", "detail"}
    assert run(ten_manifest_path, "--root", ten_videos, "--out", out).exit_code == 0
    assert out.read_text() == ""


def test_only_the_first_faults_are_printed(tmp_path: Path, media: Path) -> None:
    rows = [Item(f"n\n{n}", f"{n}.mp4", "val") for n in range(25)]
    write_manifest(tmp_path / "m.parquet", rows, INFO)
    result = run(tmp_path / "m.parquet", "--root", media)
    assert result.exit_code == 1
    assert result.output.count("missing: no such file") == 10
    assert "... 15 more; --out FILE.jsonl writes them all" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.parquet", "--root", "."), "nowhere.parquet: no such manifest"),
        ((__file__, "--root", "."), "not a readable Parquet file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output and len(result.output.strip().splitlines()) == 1


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", items(), INFO)
    with pytest.raises(InputError, match="no such folder"):
        check_media(manifest, tmp_path / "nowhere")


def test_an_empty_manifest_and_help(tmp_path: Path, media: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [], INFO)
    assert run(tmp_path / "m.parquet", "--root", media).exit_code == 0
    shown = run("--help")
    assert shown.exit_code == 0 and "Example:" in shown.output and "python -m data_specs check" in shown.output
