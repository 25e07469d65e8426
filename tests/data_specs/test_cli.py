"""``python -m data_specs``: what it prints, and one line with exit code 2 for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_specs.__main__ import main
from data_specs.manifest import read_manifest

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/msrvtt10"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_list_and_show() -> None:
    listed = run("list")
    assert listed.exit_code == 0
    assert "msrvtt" in listed.output and "shapes" in listed.output and "1k-A" in listed.output
    shown = run("show", "msrvtt")
    assert shown.exit_code == 0
    for text in ("9,000", "1,000", "msrvtt/1k-A", "annotation/MSR_VTT.json", "licence", "2,990"):
        assert text in shown.output


def test_build_prints_counts_a_split(tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    result = run("build", "msrvtt", "--root", FIXTURE, "--out", out)
    assert result.exit_code == 0, result.output
    lines = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["train", "6", "9,000", "120", "126", "0"] in lines
    assert ["test", "4", "1,000", "4", "78", "4"] in lines
    assert len(read_manifest(out)) == 10


def test_make_shapes_then_build(tmp_path: Path) -> None:
    made = run("make-shapes", "--videos", "3", "--seed", "7", "--out", tmp_path / "s")
    assert made.exit_code == 0, made.output
    assert "wrote 3 clips (1 train, 1 val, 1 test)" in made.output
    built = run(
        "build", "shapes", "--root", tmp_path / "s", "--out", tmp_path / "m.parquet", "--protocol", "all-captions"
    )
    assert built.exit_code == 0, built.output
    assert read_manifest(tmp_path / "m.parquet").info.protocol == "shapes/all-captions"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "shape"), "data set 'shape' is unknown: did you mean shapes?"),
        (("build", "msrvt", "--root", "x", "--out", "y"), "did you mean msrvtt?"),
        (("build", "msrvtt", "--root", str(FIXTURE), "--out", "y", "--protocol", "1kA"), "did you mean 1k-A?"),
        (("build", "msrvtt", "--root", "nowhere", "--out", "y"), "nowhere: no such folder"),
        (("build", "msrvtt", "--root", str(ROOT / "data_specs"), "--out", "y"), "train_list_jsfusion.txt"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("make-shapes", "--videos", "2", "--out", "x"),
        ("make-shapes", "--videos", "5", "--seed", "-1", "--out", "x"),
        ("make-shapes", "--videos", "5", "--out", "x", "--layout", "coco"),
        ("build", "msrvtt"),
        ("biuld",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_broken_row_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    good = {"id": "a", "captions": ["x"], "questions": []}
    lines = [json.dumps(good), json.dumps(good | {"id": "b", "captions": [None]})]
    (tmp_path / "annotations/train.jsonl").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "data_specs",
        "build",
        "shapes",
        "--root",
        str(tmp_path),
        "--out",
        str(tmp_path / "m"),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "train.jsonl: row 2: captions: expected a list of texts" in result.stderr


def test_help_teaches_with_an_example() -> None:
    for command in ("list", "show", "build", "make-shapes"):
        result = run(command, "--help")
        assert (
            result.exit_code == 0 and "Example:" in result.output and f"python -m data_specs {command}" in result.output
        )
