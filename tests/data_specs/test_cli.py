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
from data_specs.spec import load_spec, spec_names

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/msrvtt10"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_list_and_show() -> None:
    listed = run("list")
    assert listed.exit_code == 0
    assert all(name in listed.output for name in spec_names())
    assert "1k-A*" in listed.output and "first: default" in listed.output
    shown = run("show", "msrvtt")
    assert shown.exit_code == 0
    texts = (
        "9,000",
        "1,000",
        "msrvtt/1k-A* (default)",
        "or MSR_VTT.json, annotation/MSRVTT_data.json",
        "licence",
        "2,990",
    )
    for text in (*texts, "msrvtt/mc*", "93.0 % of val", "python -m data_specs build msrvtt --root DIR --protocol 1k-A"):
        assert text in shown.output
    assert "miech*" not in shown.output


@pytest.mark.parametrize("name", spec_names())
def test_the_page_of_a_data_set_names_all_that_it_needs(name: str) -> None:
    spec, shown = load_spec(name), run("show", name)
    assert shown.exit_code == 0
    said = " ".join(shown.output.split())
    for place in (*spec.media_paths, *(place for file in spec.files.values() for place in file.places[1:])):
        assert place.rpartition("/")[2] in said
    for text in (spec.licence, spec.source, spec.size):
        assert text.split(". ")[0][-60:].split()[-1] in said
    for protocol_name, protocol in spec.protocols.items():
        assert f"{name}/{protocol_name}{'*' * protocol.reported}" in said
        for split in protocol.splits.values():
            for count in (split.videos, split.caption_count, split.question_count):
                assert count is None or f"{count:,}" in said
    assert f"python -m data_specs build {name} --root DIR" in said and "python -m extract run" in said


def test_build_prints_counts_a_split(tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    result = run("build", "msrvtt", "--root", FIXTURE, "--out", out)
    assert result.exit_code == 0, result.output
    lines = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["train", "6", "9,000", "120", "180,000", "126", "0", "any"] in lines
    assert ["test", "4", "1,000", "4", "1,000", "78", "4", "any"] in lines
    assert "media: videos/all/{id}.mp4 found" in result.output
    assert len(read_manifest(out)) == 10


def test_build_says_what_the_answers_cover_and_what_is_left_out(tmp_path: Path) -> None:
    root, words = tmp_path / "root", {"circle": 0, "red": 1}
    (root / "msrvtt_qa").mkdir(parents=True)
    rows = [{"question": "what?", "answer": a, "video_id": "v", "answer_type": "what"} for a in ("red", "red", "tree")]
    (root / "msrvtt_qa/msrvtt_qa_val.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "msrvtt_qa/msrvtt_train_ans2label.json").write_text(json.dumps(words))
    result = run("build", "msrvtt", "--protocol", "qa", "--root", root, "--out", tmp_path / "m.parquet")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "answer vocabulary: 2 answers, expected 1,500" in said
    assert "answer vocabulary covers 66.7 % of val (2 of 3, expected 93.0 %); the rest count as wrong" in said
    assert "split test, on which this protocol is scored, is left out" in said
    assert "media: videos/all/{id}.mp4, where no file stands yet (also accepted: videos/{id}.mp4, {id}.mp4)" in said
    assert "optional file qa_train is not there: msrvtt_qa/msrvtt_qa_train.jsonl" in said


def test_make_shapes_then_build(tmp_path: Path) -> None:
    made = run("make-shapes", "--videos", "3", "--seed", "7", "--out", tmp_path / "s")
    assert made.exit_code == 0, made.output
    assert "wrote 3 clips (1 train, 1 val, 1 test)" in made.output
    built = run(
        "build", "shapes", "--root", tmp_path / "s", "--out", tmp_path / "m.parquet", "--protocol", "all-captions"
    )
    assert built.exit_code == 0, built.output
    assert read_manifest(tmp_path / "m.parquet").info.protocol == "shapes/all-captions"


def test_families_of_chosen_splits_build_too(tmp_path: Path) -> None:
    sizes = ("--split", "train=4", "--split", "test=4")
    made = run("make-shapes", *sizes, "--families", "--workers", "2", "--out", tmp_path / "s")
    assert made.exit_code == 0 and "wrote 8 clips (4 train, 4 test)" in made.output, made.output
    assert run("build", "shapes", "--root", tmp_path / "s", "--out", tmp_path / "m.parquet").exit_code == 0
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.counts() == {"train": 4, "test": 4}
    assert all("shapes are shown: " in item.captions[0] for item in manifest)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "shape"), "data set 'shape' is unknown: did you mean shapes?"),
        (("build", "msrvt", "--root", "x", "--out", "y"), "did you mean msrvtt or msvd?"),
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
        ("make-shapes", "--out", "x"),
        ("make-shapes", "--videos", "5", "--split", "train=5", "--out", "x"),
        ("make-shapes", "--split", "train", "--out", "x"),
        ("make-shapes", "--split", "tain=4", "--out", "x"),
        ("make-shapes", "--split", "train=6", "--families", "--out", "x"),
        ("make-shapes", "--videos", "8", "--families", "--layout", "msrvtt", "--out", "x"),
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
