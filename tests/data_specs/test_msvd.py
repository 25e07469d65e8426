"""MSVD and MSVD-QA: the published form with its traps, and the real files where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.manifest import Item, read_manifest

REAL = Path(__file__).parents[2].parent / "shared/annotations/msvd"
ROWS = {
    "train": [(["a cat sits", 'a "small" cat', "a cat\tor\na dog"], "-4wsuPCjDBc_5_15"), (["a man"], "b_0_9")],
    "val": [(["a dog runs", "a dog runs"], "zv2RIbUsnSw_335_341")],
    "test": [(["a boy plays", "ein Kind läuft 🙂"], "c_1_2"), (["nobody", "someone"], "d_3_4")],
}
NUMBERS = {"-4wsuPCjDBc_5_15": 1, "b_0_9": 2, "zv2RIbUsnSw_335_341": 3, "c_1_2": 4, "d_3_4": 7}
ANSWERS = ["man", "play", "two words"]
QUESTIONS = {
    "train": [("man", 0, "who sits?", 2), ("play", 1, "what is a man doing?", 1), ("man", 2, "who is there?", 2)],
    "val": [("nobody", 3, "who runs?", 4), ("two words", 4, "what is said?", 4)],
    "test": [("play", 5, "what is a boy doing?", 7)],
}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in '"\t\n') else text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The annotation files in their published form: CRLF, trailing separators, no header, no last line feed."""
    folder = tmp_path / "msvd"
    folder.mkdir()
    for split, rows in ROWS.items():
        text = "".join(f"{quoted(', '.join(said) + ', ')}\t{clip}\r\n" for said, clip in rows)
        (folder / f"MSVD_{split}.tsv").write_bytes(text.encode())
    for split, asked in QUESTIONS.items():
        fields = [dict(zip(("answer", "id", "question", "video_id"), row, strict=True)) for row in asked]
        (folder / f"{split}_qa.json").write_text(json.dumps(fields))
    lines = [f"{clip} vid{number}" for clip, number in NUMBERS.items()]
    (folder / "msvd_youtube_mapping.txt").write_text("\n".join(lines))
    (folder / "msvd_answer_set.txt").write_text("\n".join(ANSWERS) + "\n")
    return folder


def build(root: Path, protocol: str | None = None) -> Built:
    return build_manifest("msvd", root, root / "m.parquet", protocol)


def rows(root: Path, protocol: str | None = None) -> dict[str, Item]:
    return {item.id: item for item in build(root, protocol).manifest}


def refused(root: Path, protocol: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        build(root, protocol)
    assert "\n" not in error.value.message
    assert not (root / "m.parquet").exists()
    return error.value.message


def test_captions_are_kept_letter_by_letter_and_the_first_row_is_not_lost(root: Path) -> None:
    built = build(root)
    assert list(read_manifest(root / "m.parquet")) == list(built.manifest)
    assert [(item.split, list(item.captions), item.id) for item in built.manifest] == [
        (split, said, clip) for split, found in ROWS.items() for said, clip in found
    ]
    assert built.manifest.info.protocol == "msvd/all-captions"
    assert built.manifest.info.rules["queries"] == "all"
    assert set(built.manifest.info.sources) == {f"MSVD_{split}.tsv" for split in ROWS}


def test_the_two_caption_protocols_differ_in_their_queries_alone(root: Path) -> None:
    every, first = build(root, "all-captions").manifest, build(root, "first-caption").manifest
    assert list(every) == list(first)
    assert (every.info.rules["queries"], first.info.rules["queries"]) == ("all", "first")


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.removesuffix(b"\r\n"),
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data + b"\r\n\r\n",
        lambda data: data.replace(b", \t", b"\t"),
        lambda data: data.replace(b", \t", b",\t"),
    ],
)
def test_line_ends_marks_and_separators_change_nothing(root: Path, edit: Callable[[bytes], bytes]) -> None:
    expected = rows(root)
    for split in ("val", "test"):
        path = root / f"MSVD_{split}.tsv"
        path.write_bytes(edit(path.read_bytes()))
    assert rows(root) == expected


def test_a_caption_of_ten_megabytes_is_a_caption(root: Path) -> None:
    long = "very " * 2_000_000
    (root / "MSVD_val.tsv").write_text(f"{long}, \tv_0_1\r\n")
    assert rows(root)["v_0_1"].captions == (long,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a, \ta_0_1\r\nb\r\n", "row 2: not 2 values"),
        (b"a, \ta_0_1\tmore\r\n", "row 1: not 2 values"),
        (b"a, \t../a\r\n", "row 1: '../a' is not a clip id"),
        (b"a, \t\r\n", "row 1: '' is not a clip id"),
        (b"a, \tnan x\r\n", "row 1: 'nan x' is not a clip id"),
        (b"a, \tNaN\r\n", "row 1: 'NaN' is not a clip id"),
        (b"a, \ta_0_1\r\nb, \ta_0_1\r\n", "row 2: clip a_0_1 has a row already"),
        (b", \ta_0_1\r\n", "row 1: clip a_0_1 has an empty caption"),
        (b"a, , b, \ta_0_1\r\n", "row 1: clip a_0_1 has an empty caption"),
        (b'"a, \ta_0_1\r\n', "row 1: not TSV"),
        (b"a, \tc_1_2\r\n", "c_1_2 already stands in"),
        (b"", "holds no clip"),
        (b"a\xff, \ta_0_1\r\n", "row 1: not UTF-8"),
    ],
)
def test_malformed_captions_are_named(root: Path, content: bytes, said: str) -> None:
    (root / "MSVD_train.tsv").write_bytes(content)
    message = refused(root)
    assert said in message and "MSVD_t" in message


def test_a_missing_file_says_what_where_and_from_where(root: Path) -> None:
    (root / "MSVD_val.tsv").unlink()
    message = refused(root)
    assert f"{root / 'MSVD_val.tsv'} (or annotation/MSVD_val.tsv" in message and "; from: " in message


def test_both_media_layouts_are_found_and_said(root: Path) -> None:
    built = build(root)
    assert built.layout == ("{id}.avi", False)
    (root / "YouTubeClips").mkdir()
    (root / "YouTubeClips/c_1_2.avi").touch()
    built = build(root)
    assert built.layout == ("YouTubeClips/{id}.avi", True)
    assert {item.path for item in built.manifest} == {f"YouTubeClips/{clip}.avi" for clip in NUMBERS}
    (root / "c_1_2.avi").touch()
    assert rows(root)["c_1_2"].path == "c_1_2.avi" and build(root).layout == ("{id}.avi", True)


def test_questions_stand_with_their_clips_once_each(root: Path) -> None:
    built = build(root, "qa")
    clips = {number: clip for clip, number in NUMBERS.items()}
    found = {q.key: (item.split, item.id, q) for item in built.manifest for q in item.questions}
    for split, asked in QUESTIONS.items():
        for answer, key, question, number in asked:
            where, clip, q = found.pop(str(key))
            assert (where, clip) == (split, clips[number])
            assert (q.question, q.answer, q.answer_type) == (question, answer, question.split()[0])
            assert q.options == () and q.label == (ANSWERS.index(answer) if answer in ANSWERS else -1)
    assert not found
    assert [item.id for item in built.manifest] == ["b_0_9", "-4wsuPCjDBc_5_15", "c_1_2", "d_3_4"]
    assert all(item.captions == () for item in built.manifest)
    assert built.manifest.info.answers == tuple(ANSWERS)
    assert {split: (c.covered, c.asked) for split, c in built.coverage.items()} == {
        "train": (3, 3),
        "val": (1, 2),
        "test": (1, 1),
    }
    assert read_manifest(root / "m.parquet").info == built.manifest.info


def test_splits_whose_questions_are_absent_are_left_out_and_named(root: Path) -> None:
    for split in ("train", "val"):
        (root / f"{split}_qa.json").unlink()
    built = build(root, "qa")
    assert built.absent == ("qa_train", "qa_val") and built.manifest.counts() == {"test": 1}
    (root / "m.parquet").unlink()
    (root / "test_qa.json").unlink()
    message = refused(root, "qa")
    assert "train_qa.json" in message and "test_qa.json" in message and "; from: " in message


@pytest.mark.parametrize("name", ["msvd_youtube_mapping.txt", "msvd_answer_set.txt"])
def test_what_questions_need_is_named_where_it_is_missing(root: Path, name: str) -> None:
    (root / name).unlink()
    assert str(root / name) in refused(root, "qa")


def question(**fields: object) -> bytes:
    return json.dumps([{"answer": "a", "id": 90, "question": "q?", "video_id": 1} | fields]).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("val_qa.json", question(video_id=5), "row 0: video_id: 5 is in no line of the mapping"),
        ("val_qa.json", question(video_id="1"), "row 0: video_id: expected a whole number, found '1'"),
        ("val_qa.json", question(video_id=None), "row 0: video_id: expected a whole number"),
        ("val_qa.json", question(id=True), "row 0: id: expected a whole number"),
        ("val_qa.json", question(id=0), "row 0: id: 0 already stands in train_qa.json"),
        ("val_qa.json", question(answer=" "), "row 0: answer: expected a text"),
        ("val_qa.json", b'[{"answer": "a", "id": 1, "query": "q", "video_id": 1}]', "row 0: question: expected a text"),
        ("val_qa.json", b'[{"answer": NaN, "id": 1, "question": "q", "video_id": 1}]', "found nan"),
        ("val_qa.json", b"[3]", "row 0: question: expected a text"),
        ("val_qa.json", b"{}", "expected a list of questions, found dict"),
        ("val_qa.json", b"[]", "expected a list of questions"),
        ("val_qa.json", b"[{]", "row 1: not JSON"),
        ("test_qa.json", question(video_id=4), "c_1_2 already stands in"),
        ("msvd_youtube_mapping.txt", b"a_0_1 vid1\r\nb_0_9\r\n", "row 2: expected 'CLIP vidNUMBER', found 'b_0_9'"),
        ("msvd_youtube_mapping.txt", b"a_0_1 1\n", "row 1: expected 'CLIP vidNUMBER'"),
        ("msvd_youtube_mapping.txt", b"a_0_1 vid-1\n", "row 1: expected 'CLIP vidNUMBER'"),
        ("msvd_youtube_mapping.txt", b"a/b vid1\n", "row 1: 'a/b' is not a clip id"),
        ("msvd_youtube_mapping.txt", b"a vid1\nb vid1\n", "row 2: vid1 already stands in row 1"),
        ("msvd_youtube_mapping.txt", b"a vid1\nb vid01\n", "row 2: b vid01 means number 1, as a does"),
        ("msvd_youtube_mapping.txt", b"a vid1\na vid2\n", "row 2: a already stands in row 1"),
        ("msvd_answer_set.txt", b"man\n\nplay\n", "row 2: is blank, and labels count the lines"),
        ("msvd_answer_set.txt", b"man\nplay\nman\n", "row 3: answer 'man' already stands in row 1"),
        ("msvd_answer_set.txt", b"\n", "holds no answer"),
    ],
)
def test_malformed_questions_are_named(root: Path, name: str, content: bytes, said: str) -> None:
    (root / name).write_bytes(content)
    message = refused(root, "qa")
    assert said in message and str(root) in message


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("the published MSVD files are not here (../shared/annotations)")
    return REAL


@pytest.mark.parametrize("protocol", ["all-captions", "first-caption"])
def test_the_real_retrieval_files_give_the_published_counts(real: Path, tmp_path: Path, protocol: str) -> None:
    built = build_manifest("msvd", real, tmp_path / "m.parquet", protocol)
    captions = dict.fromkeys(ROWS, 0)
    for item in built.manifest:
        captions[item.split] += len(item.captions)
        assert item.path == f"{item.id}.avi" and all(caption == caption.strip() for caption in item.captions)
    assert built.manifest.counts() == {"train": 1_200, "val": 100, "test": 670}
    assert captions == {"train": 48_774, "val": 4_290, "test": 27_763}
    for name, split in built.protocol.splits.items():
        assert (split.videos, split.caption_count) == (built.manifest.counts()[name], captions[name])


def test_the_real_questions_give_the_published_counts(real: Path, tmp_path: Path) -> None:
    built = build_manifest("msvd", real, tmp_path / "m.parquet", "qa")
    asked = {name: sum(len(i.questions) for i in built.manifest if i.split == name) for name in ("val", "test")}
    assert built.manifest.counts() == {"val": 245, "test": 504} and asked == {"val": 6_415, "test": 13_157}
    assert len(built.manifest.info.answers) == 1_000 and built.manifest.info.answers[0] == "man"
    assert built.absent == ("qa_train",)
    for name, share in built.protocol.answers.coverage.items():
        assert round(built.coverage[name].percent, 1) == share
