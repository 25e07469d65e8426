"""The doctor: on whole inputs nothing fails, and each planted fault is a failure that says its way out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_specs import media as tools
from data_specs.manifest import Item
from data_specs.shards import file_sha256
from pipelines.__main__ import main
from pipelines.doctor import media
from tests.pipelines.pages import Page

VIDEO = "videos/all/video3.mp4"
Doctor = Callable[..., Page]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_nothing_fails_on_the_ten_videos(doctor_extract: Doctor, ten_videos: Path) -> None:
    page = doctor_extract(ten_videos)
    assert page.failures() == []
    assert page.exit_code == 0
    titles = ["parts", "ffmpeg", "ffprobe", "detector weights", "output", "media", "shards", "disk"]
    for title in titles:
        assert page.of(title, "ok"), title
        assert not page.of(title, "warning"), title
    (counts,) = page.of("annotations")
    assert counts["level"] == "warning"
    assert "train 6 of 9,000 rows" in counts["found"]
    assert "test 4 of 1,000 rows" in counts["found"]
    assert "2 shards of 10 items" in page.of("shards")[0]["found"]
    for option in ("-protocol_whitelist", "-format_whitelist", "-max_pixels", "-max_alloc"):
        assert option in page.of("ffmpeg")[0]["found"]
        assert option in page.of("ffprobe")[0]["found"]
    assert "nothing that was looked at would fail" in page.output


def test_nothing_is_written(
    doctor_extract: Doctor, ten_copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    doctor_extract(ten_copied)  # writes its detector and JSON file into tmp_path
    before = contents(tmp_path)
    doctor_extract(ten_copied)
    assert contents(tmp_path) == before
    assert not any(work.iterdir())
    assert not any(temporary.iterdir())
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("fault", ["missing", "empty"])
def test_a_video_that_is_not_there(doctor_extract: Doctor, ten_copied: Path, fault: str) -> None:
    (ten_copied / VIDEO).unlink()
    if fault == "empty":
        (ten_copied / VIDEO).touch()
    said = doctor_extract(ten_copied).fails_only_in("media")
    assert f"10 rows: 1 {fault}: {VIDEO} ({fault})" in said
    assert f"put them there below {ten_copied}" in said


def test_a_split_is_looked_at_alone(doctor_extract: Doctor, ten_copied: Path) -> None:
    (ten_copied / VIDEO).unlink()  # a training video
    assert doctor_extract(ten_copied, "split=test").exit_code == 0
    assert doctor_extract(ten_copied, "split=train").exit_code == 1
    said = doctor_extract(ten_copied, "split=val").failures()
    assert any("split 'val' has no rows" in text for _, text in said)


def test_a_large_manifest_is_sampled(doctor_extract: Doctor, ten_copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_LOOKED_AT", 5)
    assert "5 rows at random of 10: every file" in doctor_extract(ten_copied).of("media", "ok")[0]["found"]
    shutil.rmtree(ten_copied / "videos" / "all")
    (ten_copied / "videos" / "all").mkdir()
    said = doctor_extract(ten_copied).fails_only_in("media")
    assert "5 rows at random of 10: 5 missing" in said
    assert "--set root=" in said


def test_weights_that_are_not_there(
    doctor_extract: Doctor, ten_videos: Path, write_detector: Callable[..., str]
) -> None:
    detector = write_detector(None, weights="nowhere.safetensors", weights_from="Ask the zoo.")
    said = doctor_extract(ten_videos, f"detector={detector}").fails_only_in("detector weights")
    assert "weights 'nowhere.safetensors' not found" in said
    assert said.endswith("→ Ask the zoo.")


def test_weights_of_another_hash(
    doctor_extract: Doctor, ten_videos: Path, write_detector: Callable[..., str], tmp_path: Path
) -> None:
    stated = doctor_extract(ten_videos, f"detector={write_detector(sha256='0' * 64)}")
    assert "SHA-256 is not the 000" in stated.fails_only_in("detector weights")
    right = write_detector(sha256=file_sha256(tmp_path / "own.safetensors"))
    (found,) = doctor_extract(ten_videos, f"detector={right}").of("detector weights")
    assert found["level"] == "ok"
    assert file_sha256(tmp_path / "own.safetensors")[:16] in found["found"]


def test_a_wrong_root(doctor_extract: Doctor, tmp_path: Path) -> None:
    page = doctor_extract(tmp_path / "nowhere")
    said = page.fails_only_in("annotations")
    assert "nowhere: no such folder" in said
    assert "python -m data_specs show msrvtt" in said
    assert page.of("media")[0]["level"] == "warning"  # not looked at, and that is said
    assert page.of("ffmpeg")[0]["level"] == "ok"  # the other checks went on


def test_a_missing_annotation_file(doctor_extract: Doctor, ten_copied: Path) -> None:
    (ten_copied / "annotation" / "MSR_VTT.json").unlink()
    assert "MSR_VTT.json" in doctor_extract(ten_copied).fails_only_in("annotations")


def test_a_folder_of_ones_own(doctor: Doctor, ten_copied: Path, tmp_path: Path, write_detector) -> None:
    given = (
        f"root={ten_copied}/videos",
        f"detector={write_detector()}",
        f"out={tmp_path}/out",
        f"manifest={tmp_path}/m",
    )
    whole = doctor("extract", "dataset=folder", *given)
    assert whole.failures() == []
    assert "train 10 rows" in whole.of("annotations", "ok")[0]["found"]
    cut = doctor("extract", "dataset=folder", "clip_seconds=1", "split_all=test", *given)
    assert "test 30 rows" in cut.of("annotations", "ok")[0]["found"]  # ten videos of three seconds
    assert "clips" in doctor("extract", "dataset=msrvtt", "clip_seconds=1", *given).fails_only_in("annotations")


def test_a_full_disk(doctor_extract: Doctor, ten_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    said = doctor_extract(ten_videos).fails_only_in("disk")
    assert "1 kB free" in said
    assert "write elsewhere: --set out=FOLDER" in said


def test_a_folder_that_may_not_be_written(doctor_extract: Doctor, ten_videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = doctor_extract(ten_videos, f"out={tmp_path}/file/shards").fails_only_in("output")
    assert f"{tmp_path}/file is no folder that may be written to" in said


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """``fake_tool(name, script)``: puts a shell script before the real tool, which it may call as ``$real``."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(name: str, script: str) -> None:
        real = tools.find_tool(name)
        (folder / name).write_text(f"#!/bin/sh\nreal='{real}'\n{script}\n")
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        forget()

    def forget() -> None:
        tools.find_tool.cache_clear()
        tools.tool_version.cache_clear()

    yield put
    forget()


DROP = """
for word do
  shift
  if [ "$skip" = yes ]; then skip=no; continue; fi
  if [ "$word" = -{option} ]; then skip=yes; continue; fi
  set -- "$@" "$word"
done
exec "$real" "$@"
"""


@pytest.mark.parametrize("option", ["format_whitelist", "protocol_whitelist", "max_pixels", "max_alloc"])
@pytest.mark.parametrize("tool", ["ffmpeg", "ffprobe"])
def test_a_tool_whose_option_blocks_nothing(
    doctor_extract: Doctor, ten_videos: Path, fake_tool: Callable[[str, str], None], tool: str, option: str
) -> None:
    fake_tool(tool, DROP.replace("{option}", option))
    said = doctor_extract(ten_videos).fails_only_in(tool)
    assert f"-{option} does not block" in said
    assert "make setup installs one" in said


def test_a_tool_that_does_not_know_an_option(
    doctor_extract: Doctor, ten_videos: Path, fake_tool: Callable[[str, str], None]
) -> None:
    refuse = (
        'for word do [ "$word" = -max_pixels ] && echo "Unrecognized option" >&2 && exit 1; done; exec "$real" "$@"'
    )
    fake_tool("ffmpeg", refuse)
    said = doctor_extract(ten_videos).fails_only_in("ffmpeg")
    assert "refuses the sandbox's options" in said
    assert "Unrecognized option" in said


def test_a_part_that_is_missing(doctor_extract: Doctor, ten_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    without = doctor_extract(ten_videos)
    assert without.exit_code == 0
    assert "ray absent (not needed here)" in without.of("parts")[-1]["found"]
    said = doctor_extract(ten_videos, "workers=2").fails_only_in("parts")
    assert "ray is not installed" in said
    assert "make setup" in said


@pytest.mark.parametrize("part", ["pyarrow", "webdataset", "torch"])
def test_a_part_without_which_little_can_be_looked_at(ten_videos: Path, tmp_path: Path, part: str) -> None:
    arguments = ["doctor", "smoke", "--quick", "--set", f"root={ten_videos}", "--set", f"out={tmp_path}/out"]
    script = f"import sys; sys.modules[{part!r}] = None; from pipelines.__main__ import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert f"{part} is not installed, and this pipeline needs it" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_more_workers_than_shards(doctor_extract: Doctor, ten_videos: Path) -> None:
    page = doctor_extract(ten_videos, "workers=3")
    assert page.exit_code == 0
    (found,) = page.of("shards", "warning")
    assert "fewer than its 3 workers" in found["found"]
    assert "--set workers=2" in found["way_out"]


def test_shards_that_were_made_differently(
    doctor_extract: Doctor, ten_videos: Path, tmp_path: Path, make_shard: Callable[..., Path]
) -> None:
    make_shard(tmp_path / "shards", [Item("video0", "videos/all/video0.mp4", "train", captions=("a",))])
    said = doctor_extract(ten_videos).fails_only_in("output")
    assert "train-00000.tar was made differently" in said
    assert "--set out=FOLDER" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "did you mean smoke?"),
        (["extract"], "needs dataset"),
        (["smoke", "--set", "x"], "write it as key=value"),
        (["extract", "--set", "dataset=msrvt", "--set", "root=x"], "did you mean msrvtt"),
        (["extract", "--set", "dataset=msrvtt", "--set", "root=x", "--set", "protocol=1kA"], "did you mean 1k-A?"),
        (["extract", "--set", "dataset=msrvtt", "--set", "root=x", "--set", "detector=shape"], "did you mean shapes?"),
        (["extract", "--set", "dataset=msrvtt", "--set", "root=x", "--set", "frames=many"], "'many'"),
        (["pretrain", "--set", "pretrain.optimiser.learning=1"], "unknown key 'optimiser.learning'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
