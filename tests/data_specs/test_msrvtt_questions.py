"""MSRVTT-QA and MSRVTT-MC: questions without captions, answers and choices; the real files where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.spec import load_spec

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/msrvtt10"
REAL = ROOT.parent / "shared/annotations"
QA_TRAIN, QA_TEST = "msrvtt_qa/msrvtt_qa_train.jsonl", "msrvtt_qa/msrvtt_qa_test.jsonl"
ANSWERS, MC = "msrvtt_qa/msrvtt_train_ans2label.json", "msrvtt_mc/msrvtt_mc_test.jsonl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the fixture's annotations, to be broken."""
    copy = tmp_path / "msrvtt"
    shutil.copytree(FIXTURE, copy, ignore=shutil.ignore_patterns("*.mp4", "boxes"))
    return copy


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The real questions, choices and lists; no caption file is among them."""
    if not (REAL / "msrvtt_qa").is_dir():
        pytest.skip("the published MSRVTT-QA and MSRVTT-MC files are not here (../shared/annotations)")
    for name in ("msrvtt", "msrvtt_qa", "msrvtt_mc"):
        shutil.copytree(REAL / name, tmp_path / "real", dirs_exist_ok=True)
    return tmp_path / "real"


def build(root: Path, protocol: str) -> Built:
    return build_manifest("msrvtt", root, root / "m.parquet", protocol)


def refused(root: Path, protocol: str) -> str:
    with pytest.raises(InputError) as error:
        build(root, protocol)
    assert "\n" not in error.value.message
    assert not (root / "m.parquet").exists()
    return error.value.message


def only(root: Path, *names: str) -> None:
    """Removes every annotation file but these."""
    for path in [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() not in names]:
        path.unlink()


def test_questions_need_no_captions_and_no_lists(root: Path) -> None:
    only(root, QA_TRAIN, QA_TEST, ANSWERS)
    built = build(root, "qa")
    assert built.absent == ("qa_val",) and set(built.manifest.counts()) == {"train", "test"}
    labels = json.loads((root / ANSWERS).read_text())
    for name, split in ((QA_TRAIN, "train"), (QA_TEST, "test")):
        asked = [json.loads(line) for line in (root / name).read_text().splitlines()]
        items = [item for item in built.manifest if item.split == split]
        assert [item.id for item in items] == list(dict.fromkeys(row["video_id"] for row in asked))
        found = {q.key: (item.id, q.question, q.answer, q.label) for item in items for q in item.questions}
        assert found == {
            f"qa_{split}-{place}": (row["video_id"], row["question"], row["answer"], labels[row["answer"]])
            for place, row in enumerate(asked)
        }
    assert all(item.captions == () for item in built.manifest)
    assert (
        built.manifest.info.answers == tuple(sorted(labels, key=labels.get)) and ANSWERS in built.manifest.info.sources
    )
    assert built.manifest.info.rules["task"] == "question-answering"


def test_choices_need_no_captions_and_no_lists(root: Path) -> None:
    only(root, MC)
    built = build(root, "mc")
    assert built.manifest.counts() == {"test": 4} and built.manifest.info.answers == ()
    labels = [int(json.loads(line)["answer"]) for line in (root / MC).read_text().splitlines()]
    assert [question.label for item in built.manifest for question in item.questions] == labels


def test_the_label_base_of_a_choice_is_data(root: Path) -> None:
    only(root, MC)
    spec = load_spec("msrvtt")
    choice = spec.protocols["mc"]
    from_one = choice.model_copy(update={"choices": choice.choices.model_copy(update={"label_base": 1})})
    from_one = spec.model_copy(update={"name": "mine", "protocols": {"mc": from_one}, "default_protocol": "mc"})
    row = {"qid": "m", "clip_name": "v", "answer": "5", "options": ["a", "b", "c", "d", "e"]}
    (root / MC).write_text(json.dumps(row))
    (item,) = build_manifest(from_one, root, root / "m.parquet").manifest
    assert (item.questions[0].label, item.questions[0].answer) == (4, "e")
    (root / MC).write_text(json.dumps(row | {"answer": "0"}))
    with pytest.raises(InputError, match="'0' is not an option from 1 to 5"):
        build_manifest(from_one, root, root / "m.parquet")


def test_an_answer_outside_the_vocabulary_is_kept_and_counted(root: Path) -> None:
    only(root, QA_TEST, ANSWERS)
    rows_in = [json.loads(line) for line in (root / QA_TEST).read_text().splitlines()]
    rows_in[0]["answer"] = "aardvark"
    (root / QA_TEST).write_text("\n".join(map(json.dumps, rows_in)))
    built = build(root, "qa")
    assert (built.coverage["test"].covered, built.coverage["test"].asked) == (len(rows_in) - 1, len(rows_in))
    (found,) = [q for item in built.manifest for q in item.questions if q.key == "qa_test-0"]
    assert (found.answer, found.label) == ("aardvark", -1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (ANSWERS, b'{"a": 0, "b": 2}', "'b': label 2 is not one of 0 to 1"),
        (ANSWERS, b'{"a": 0, "b": 0}', "'b': label 0 is that of 'a' too"),
        (ANSWERS, b'{"a": "0"}', "'a': label '0' is not one of 0 to 0"),
        (ANSWERS, b'["a"]', "expected an object of answer to label, found list"),
        (QA_TEST, b"\n", "asks about no video"),
        (
            QA_TEST,
            b'{"answer": "a", "question": "q", "video_id": "../v", "answer_type": "w"}',
            "'../v' is not a video id",
        ),
        (QA_TEST, b'{"answer": "a", "question": "q", "video": "v", "answer_type": "w"}', "row 1: video_id: expected"),
        (
            QA_TEST,
            b'{"qid": "m", "clip_name": "v", "answer": "0", "options": ["a","b","c","d","e"]}',
            "row 1: multiple choice, and this protocol has no choices",
        ),
    ],
)
def test_malformed_answers_and_questions_are_named(root: Path, name: str, content: bytes, said: str) -> None:
    (root / name).write_bytes(content)
    message = refused(root, "qa")
    assert said in message and str(root / name) in message


def test_the_real_questions_are_whole_without_captions(real: Path, tmp_path: Path) -> None:
    built = build_manifest("msrvtt", real, tmp_path / "m.parquet", "qa")
    assert built.manifest.counts() == {"val": 497} and built.absent == ("qa_train", "qa_test")
    assert built.coverage["val"].asked == sum(len(item.questions) for item in built.manifest) == 12_278
    assert len(built.manifest.info.answers) == built.protocol.answers.size == 1_500
    assert round(built.coverage["val"].percent, 1) == built.protocol.answers.coverage["val"] == 93.0
    lists = set((real / "val_list_full.txt").read_text().split())
    assert {item.id for item in built.manifest} == lists


def test_the_real_choices_are_the_full_test_split(real: Path, tmp_path: Path) -> None:
    built = build_manifest("msrvtt", real, tmp_path / "m.parquet", "mc")
    assert built.manifest.counts() == {"test": 2_990} and built.left_out == {}
    assert all(len(item.questions) == 1 and len(item.questions[0].options) == 5 for item in built.manifest)
    assert {item.id for item in built.manifest} == set((real / "test_list_full.txt").read_text().split())
