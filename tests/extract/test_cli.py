"""The command line: exit codes, one clear line for wrong input, and what the commands show."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from data_specs.manifest import Item, ManifestInfo, write_manifest
from extract.__main__ import main
from extract.sampling import IMPORTED
from tests.extract import made
from tests.extract.runs import HOSTILE, extract, settings_for


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_arguments(manifest: object, root: object, out: Path, *more: object) -> list[object]:
    return ["run", "--manifest", manifest, "--root", root, "--out", out, *more]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--detector", "shap"], "did you mean shapes?"),
        (["--detector", "coco-r101-c4"], "not found"),
        (["--set", "detector.nmss=0.3"], "unknown key 'detector.nmss': did you mean nms"),
        (["--set", "detector.nms=2"], "less than or equal to 1 (given: 2)"),
        (["--set", "detector.config=COCO-Detection/nothing.yaml"], "not in detectron2's model zoo"),
        (["--set", "detector.overrides={MODEL.NOTHING: 1}"], "MODEL.NOTHING"),
        (["--set", "nonsense"], "write it as key=value"),
        (["--split", "tests"], "did you mean test"),
        (["--frames", "0"], "--frames"),
        (["--root", "/no/such/folder"], "--root /no/such/folder: no such folder"),
        (["--device", "gpu"], "--device gpu"),
    ],
)
def test_wrong_options_give_one_line_and_exit_code_2(
    more: list[str], message: str, ten_manifest_path: Path, ten_videos: Path, tmp_path: Path
) -> None:
    result = call(*run_arguments(ten_manifest_path, ten_videos, tmp_path / "out", *more))
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert not list(tmp_path.rglob("*.tar"))


def test_absent_or_broken_manifest(tmp_path: Path, ten_videos: Path) -> None:
    result = call(*run_arguments(tmp_path / "no.parquet", ten_videos, tmp_path / "out"))
    assert (result.exit_code, "no such manifest" in result.output) == (2, True)
    (tmp_path / "text.parquet").write_text("not Parquet")
    result = call(*run_arguments(tmp_path / "text.parquet", ten_videos, tmp_path / "out"))
    assert (result.exit_code, "not a readable Parquet file" in result.output) == (2, True)


def test_failures_give_exit_code_1_and_coverage_lists_them(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    root, manifest = hostile
    out = tmp_path / "shards"
    result = call(*run_arguments(manifest, root, out, "--frames", 1))
    assert result.exit_code == 1, result.output
    assert "5 of 15 items failed" in result.output
    assert "extract coverage" in result.output
    report = tmp_path / "coverage.json"
    result = call("coverage", out, "--manifest", manifest, "--json", report)
    assert result.exit_code == 1
    for identifier, (_, reason) in HOSTILE.items():
        assert f"{identifier}  {reason}" in result.output
    found = json.loads(report.read_text())
    assert found["splits"]["train"] == {
        "expected": 11,
        "extracted": 6,
        "failed": dict.fromkeys(sorted(reason for _, reason in HOSTILE.values()), 1),
        "pending": 0,
    }
    assert call("coverage", out, "--manifest", manifest, "--split", "test").exit_code == 0
    result = call("show", out, "audio", "--out", tmp_path / "x.png")
    assert (result.exit_code, "no_video_stream" in result.output) == (2, True)


def test_verify_exit_codes(ten_shards: Path, tmp_path: Path) -> None:
    result = call("verify", ten_shards)
    assert result.exit_code == 0
    assert "3 shards, 10 samples, 600 regions, 0 failures recorded, 0 problems" in result.output
    assert call("verify", tmp_path).exit_code == 2


def test_show_draws_the_frame(ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path) -> None:
    over, plain = tmp_path / "over.png", tmp_path / "plain.png"
    where = ["--manifest", ten_manifest_path, "--root", ten_videos]
    assert call("show", ten_shards, "video3", "--out", over, "--frame", 2, *where).exit_code == 0
    assert call("show", ten_shards, "video3", "--out", plain).exit_code == 0
    with Image.open(over) as picture, Image.open(plain) as grey:
        assert picture.size == grey.size
        assert picture.height >= 720
        assert (
            len(set(picture.convert("RGB").get_flattened_data()))
            > len(set(grey.convert("RGB").get_flattened_data()))
            > 30
        )
    for wrong in (["nobody"], ["video3", "--frame", 9]):
        assert call("show", ten_shards, *wrong, "--out", over).exit_code == 2


def test_resumed_run_says_what_was_there(ten_videos: Path, ten_manifest_path: Path, tmp_path: Path) -> None:
    extract(ten_manifest_path, settings_for(ten_videos, tmp_path / "s", frames=1))
    options = ["--frames", 1, "--videos-per-shard", 4]
    result = call(*run_arguments(ten_manifest_path, ten_videos, tmp_path / "s", *options))
    assert result.exit_code == 0, result.output
    assert "0 shards made, 3 were there; 10 samples" in result.output


def test_verify_writes_its_problems(ten_shards: Path, tmp_path: Path) -> None:
    shutil.copytree(ten_shards, tmp_path / "shards")
    (tmp_path / "shards" / "test-00000.tar").unlink()
    result = call("verify", tmp_path / "shards", "--json", tmp_path / "problems.json")
    assert result.exit_code == 1
    found = json.loads((tmp_path / "problems.json").read_text())
    assert found["shards"] == 3
    assert found["problems"] == [
        {"file": "test-00000.tar", "problem": "is absent, its commit record is there", "sample": "", "field": ""}
    ]
    assert "test-00000.tar: is absent" in result.output


def test_thousands_of_failures_go_to_a_file(tmp_path: Path) -> None:
    names = ["v\x1b[2J", *(f"v{number:04d}" for number in range(1999))]
    made.shard(tmp_path / "shards", "train-00000", ["good"], [(name, "timeout") for name in names])
    items = [Item(name, f"{number}.mp4", "train") for number, name in enumerate([*names, "good"])]
    write_manifest(tmp_path / "m.parquet", items, ManifestInfo("made"))
    listed = tmp_path / "failed.csv"
    result = call("coverage", tmp_path / "shards", "--manifest", tmp_path / "m.parquet", "--failures", listed)
    assert result.exit_code == 1
    assert result.output.count("timeout  made") == 50
    assert f"... the first 50 of 2,000 failures; all of them: {listed}" in result.output
    assert "\x1b" not in result.output and r"v\x1b[2J  timeout" in result.output
    with listed.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["id", "reason", "detail"] and [row[0] for row in rows[1:]] == names
    result = call("coverage", tmp_path / "shards", "--manifest", tmp_path / "m.parquet")
    assert "--failures FILE.csv writes them" in result.output


def test_frames_of_an_imported_sample_are_not_guessed(tmp_path: Path, ten_videos: Path) -> None:
    made.shard(tmp_path / "shards", "train-00000", ["a"], sampling=IMPORTED)
    write_manifest(tmp_path / "m.parquet", [Item("a", "a.mp4", "train")], ManifestInfo("made"))
    where = ["show", tmp_path / "shards", "a", "--out", tmp_path / "a.png"]
    result = call(*where, "--manifest", tmp_path / "m.parquet", "--root", ten_videos)
    assert (result.exit_code, "is not known" in result.output) == (2, True)
    assert call(*where).exit_code == 0


COMMANDS = [
    "run",
    "retry",
    "import-npz",
    "thin",
    "verify",
    "coverage",
    "show",
    "cost",
    "convert",
    "train-shapes-detector",
]


def test_every_command_is_known_here() -> None:
    assert sorted(main.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"python -m extract {command} " in result.output
    assert "Exit codes: 0 " in " ".join(result.output.split())


def test_help_is_quick() -> None:
    """It needs neither torch nor Arrow."""
    script = "import sys, extract.__main__; print([m for m in ('torch', 'detectron2', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
