"""MSR-VTT: the ten-video fixture through the real path, its traps one by one, and the real lists where they are."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.manifest import Item, read_manifest
from data_specs.spec import load_spec

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/msrvtt10"
REAL = ROOT.parent / "shared/annotations"
LISTS = "high-quality/structured-symlinks"
TRAIN, TEST = f"{LISTS}/train_list_jsfusion.txt", f"{LISTS}/val_list_jsfusion.txt"
INDEX, SENTENCES = f"{LISTS}/jsfusion_val_caption_idx.json", "annotation/MSRVTT_JSFUSION_test.csv"
CAPTIONS = "annotation/MSR_VTT.json"
QA_TRAIN, QA_TEST, MC = (
    "msrvtt_qa/msrvtt_qa_train.jsonl",
    "msrvtt_qa/msrvtt_qa_test.jsonl",
    "msrvtt_mc/msrvtt_mc_test.jsonl",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the fixture's annotations, to be broken."""
    copy = tmp_path / "msrvtt"
    shutil.copytree(FIXTURE, copy, ignore=shutil.ignore_patterns("*.mp4", "boxes"))
    return copy


def build(root: Path, protocol: str | None = None) -> Built:
    return build_manifest("msrvtt", root, root / "m.parquet", protocol)


def rows(root: Path) -> dict[str, Item]:
    return {item.id: item for item in build(root).manifest}


def refused(root: Path, protocol: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        build(root, protocol)
    assert "\n" not in error.value.message
    assert not (root / "m.parquet").exists()
    return error.value.message


def change(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(path.read_text()))


def test_the_fixture_builds(tmp_path: Path) -> None:
    built = build_manifest("msrvtt", FIXTURE, tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    assert list(manifest) == list(built.manifest)
    assert manifest.counts() == {"train": 6, "test": 4}
    assert manifest.info.protocol == "msrvtt/1k-A"
    assert set(manifest.info.sources) == {CAPTIONS, TRAIN, TEST, INDEX, SENTENCES, QA_TRAIN, QA_TEST, MC}
    assert built.absent == () and built.left_out == {}
    for item in manifest:
        assert item.path == f"videos/all/{item.id}.mp4" and (FIXTURE / item.path).is_file()
        assert len(item.captions) == (20 if item.split == "train" else 1)


def test_train_keeps_all_captions_in_file_order_and_test_the_chosen_one() -> None:
    said: dict[str, list[str]] = {}
    for row in json.loads((FIXTURE / CAPTIONS).read_text())["annotations"]:
        said.setdefault(row["image_id"], []).append(row["caption"])
    index = json.loads((FIXTURE / INDEX).read_text())
    with (FIXTURE / SENTENCES).open(newline="") as stream:
        sentences = {row["video_id"]: row["sentence"] for row in csv.DictReader(stream)}
    for item in _items(FIXTURE):
        if item.split == "train":
            assert list(item.captions) == said[item.id]
        else:
            assert item.captions == (said[item.id][index[item.id]],) == (sentences[item.id],)


def test_questions_and_choices_stand_with_their_video() -> None:
    items = {item.id: item for item in _items(FIXTURE)}
    asked = [json.loads(line) for line in (FIXTURE / QA_TEST).read_text().splitlines()]
    for place, row in enumerate(asked):
        (found,) = [q for q in items[row["video_id"]].questions if q.key == f"qa_test-{place}"]
        assert (found.question, found.answer, found.answer_type) == (row["question"], row["answer"], row["answer_type"])
        assert found.options == () and found.label == -1
    for line in (FIXTURE / MC).read_text().splitlines():
        row = json.loads(line)
        (found,) = [q for q in items[row["clip_name"]].questions if q.key == row["qid"]]
        assert found.answer_type == "multiple_choice" and found.options == tuple(row["options"])
        assert found.label == int(row["answer"]) and found.answer == row["options"][found.label]
    keys = [question.key for item in items.values() for question in item.questions]
    assert len(keys) == len(set(keys))


def test_both_json_forms_give_the_same_rows(root: Path) -> None:
    expected = rows(root)
    tree = json.loads((root / CAPTIONS).read_text())
    sentences = [
        {"caption": row["caption"], "video_id": row["image_id"], "sen_id": n}
        for n, row in enumerate(tree["annotations"])
    ]
    videos = [{"category": 9, "video_id": image["id"], "split": "train", "id": 0} for image in tree["images"]]
    (root / CAPTIONS).unlink()
    (root / "MSRVTT_data.json").write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))
    assert rows(root) == expected
    assert "MSRVTT_data.json" in build(root).manifest.info.sources


def test_line_ends_byte_order_marks_and_other_places_change_nothing(root: Path) -> None:
    expected = rows(root)
    for name in (TRAIN, TEST, SENTENCES, QA_TEST, MC):
        path = root / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    change(root / TRAIN, lambda text: text + "\n\n")
    (root / TEST).rename(root / "val_list_jsfusion.txt")
    (root / SENTENCES).rename(root / "MSRVTT_JSFUSION_test.csv")
    assert rows(root) == expected


@pytest.mark.parametrize("absent", [INDEX, SENTENCES])
def test_either_query_file_is_enough(root: Path, absent: str) -> None:
    expected = rows(root)
    (root / absent).unlink()
    assert rows(root) == expected


def test_a_query_that_differs_between_the_files_is_named(root: Path) -> None:
    change(root / SENTENCES, lambda text: text.replace(text.splitlines()[2].split(",", 3)[3], "a dog barks"))
    said = refused(root)
    assert f"{root / SENTENCES}: video7: its sentence 'a dog barks' is not caption" in said and INDEX in said


def test_spaces_do_not_make_a_query_different(root: Path) -> None:
    expected = rows(root)
    change(root / CAPTIONS, lambda text: text.replace('"caption": "a ', '"caption": "a  '))
    found = rows(root)
    assert {video: item.split for video, item in found.items()} == {v: i.split for v, i in expected.items()}
    assert any("a  " in caption for item in found.values() for caption in item.captions)  # kept as the file has it


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda index: index | {"video6": 20}, "video6: caption 20 does not exist"),
        (lambda index: index | {"video6": -1}, "video6: -1 is not a caption index"),
        (lambda index: index | {"video6": "3"}, "video6: '3' is not a caption index"),
        (lambda index: {k: v for k, v in index.items() if k != "video6"}, "no caption index for video6"),
        (lambda index: [1, 2], "expected an object"),
    ],
)
def test_a_wrong_caption_index_is_named(root: Path, edit: Callable, said: str) -> None:
    (root / INDEX).write_text(json.dumps(edit(json.loads((root / INDEX).read_text()))))
    message = refused(root)
    assert said in message and INDEX in message


@pytest.mark.parametrize("name", [CAPTIONS, TRAIN, TEST])
def test_a_missing_file_says_what_where_and_from_where(root: Path, name: str) -> None:
    (root / name).unlink()
    message = refused(root)
    assert str(root / name) in message and "; from: " in message and "archive" in message


def test_without_any_query_file_both_are_named_and_a_pickle_is_not_read(root: Path) -> None:
    (root / SENTENCES).unlink()
    (root / INDEX).rename((root / INDEX).with_suffix(".pkl"))
    message = refused(root)
    assert INDEX in message and "MSRVTT_JSFUSION_test.csv" in message and "written as JSON" in message


def test_optional_files_may_be_absent(root: Path) -> None:
    for name in (QA_TRAIN, MC):
        (root / name).unlink()
    built = build(root)
    assert built.absent == ("qa_train", "mc_test")
    assert not any(q.options for item in built.manifest for q in item.questions)


def test_questions_never_cross_from_one_split_to_another(root: Path) -> None:
    change(root / QA_TRAIN, lambda text: (root / QA_TEST).read_text())
    built = build(root)
    assert built.left_out == {"qa_train": len((root / QA_TEST).read_text().splitlines())}
    assert not any(item.questions for item in built.manifest if item.split == "train")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (TRAIN, b"video0\nvideo1\nvideo0\n", "row 3: video0 already stands in row 1"),
        (TRAIN, b"video0\n../video1\n", "row 2: '../video1' is not a video id"),
        (TRAIN, b"video0\nvideo 1\n", "row 2: 'video 1' is not a video id"),
        (TRAIN, b"\n", "lists no video"),
        (TRAIN, b"video0\nvideo6\n", "video6 is in two splits, train and test"),
        (TRAIN, b"video0\nvideo77\n", "no caption of video77"),
        (TRAIN, b"video0\nvi\xff\n", "row 2: not UTF-8 text"),
        (CAPTIONS, b"{", "row 1: not JSON"),
        (CAPTIONS, b"[" * 100_000, "not JSON this program reads"),
        (CAPTIONS, b"[]", "neither annotations[] (MSR_VTT.json) nor sentences[]"),
        (CAPTIONS, b'{"annotations": [{"image_id": "v", "caption": "a"}, 3]}', "row 1: image_id: expected a text"),
        (
            CAPTIONS,
            b'{"annotations": [{"image_id": NaN, "caption": "a"}]}',
            "row 0: image_id: expected a text, found nan",
        ),
        (CAPTIONS, b'{"annotations": [{"image_id": "v", "caption": "\\ud800"}]}', "row 0: caption: expected a text"),
        (SENTENCES, b"key,video,sentence\n", "row 1: no column 'video_id', found: key, video, sentence"),
        (SENTENCES, b"key,vid_key,video_id,sentence\nret0,msr6,video6\n", "row 2: not 4 values"),
        (SENTENCES, b"key,vid_key,video_id,sentence\nret0,msr6,video6,a, b\n", "row 2: not 4 values"),
        (SENTENCES, b'key,vid_key,video_id,sentence\nret0,msr6,video6,"a\n', "not CSV"),
        (SENTENCES, b"key,vid_key,video_id,sentence\nr,m,video7,a\nr,m,video7,b\n", "row 3: video7 has a sentence"),
        (SENTENCES, b"key,vid_key,video_id,sentence\n", "no sentence for video6"),
        (QA_TRAIN, b'\n{"answer": "a"}\n', "row 2: video_id: expected a text"),
        (QA_TRAIN, b"[1]\n", "row 1: expected an object, found list"),
        (QA_TRAIN, b"{}{}\n", "row 1: not JSON"),
        (
            QA_TRAIN,
            b'{"answer": 3, "question": "q", "video_id": "v", "answer_type": "w"}',
            "row 1: answer: expected a text",
        ),
        (MC, b'{"qid": "m", "clip_name": "v", "answer": "5", "options": ["a","b","c","d","e"]}', "answer: '5' is not"),
        (MC, b'{"qid": "m", "clip_name": "v", "answer": "0", "options": ["a","b"]}', "options: 2 of them, expected 5"),
        (MC, b'{"qid": "m", "clip_name": "v", "answer": "0", "options": "abcde"}', "options: expected a list of texts"),
        (
            MC,
            b'{"qid": "m", "clip_name": "v", "answer": "0", "options": ["a","b","c","d","e"]}\n' * 2,
            "row 2: qid 'm'",
        ),
    ],
)
def test_malformed_content_is_named(root: Path, name: str, content: bytes, said: str) -> None:
    (root / name).write_bytes(content)
    message = refused(root)
    assert said in message
    assert str(root / name) in message or name == TRAIN


def test_other_media_places_are_found(root: Path) -> None:
    (root / "videos").mkdir(exist_ok=True)
    shutil.rmtree(root / "videos")
    (root / "videos").mkdir()
    shutil.copy(FIXTURE / "videos/all/video0.mp4", root / "videos/video0.mp4")
    assert rows(root)["video3"].path == "videos/video3.mp4"
    (root / "videos/video0.mp4").rename(root / "video0.mp4")
    assert rows(root)["video3"].path == "video3.mp4"
    (root / "video0.mp4").unlink()
    assert rows(root)["video3"].path == "videos/all/video3.mp4"


def test_an_unknown_protocol_or_a_missing_root(root: Path, tmp_path: Path) -> None:
    assert "did you mean 1k-A" in refused(root, "1kA")
    assert build(root, "msrvtt/1k-A").manifest.info.protocol == "msrvtt/1k-A"
    with pytest.raises(InputError, match="no such folder"):
        build_manifest("msrvtt", tmp_path / "nowhere", tmp_path / "m.parquet")


def test_a_format_says_which_file_a_spec_must_declare(root: Path) -> None:
    spec = load_spec("msrvtt")
    files = {role: file for role, file in spec.files.items() if role != "captions"}
    with pytest.raises(InputError, match="format msrvtt needs a file 'captions'"):
        build_manifest(spec.model_copy(update={"files": files}), root, root / "m.parquet")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real lists, queries and questions, with made-up captions (the real caption file may not be copied)."""
    if not (REAL / "msrvtt").is_dir():
        pytest.skip("the published MSR-VTT lists are not here (../shared/annotations)")
    root = tmp_path_factory.mktemp("real")
    for name in ("msrvtt", "msrvtt_qa", "msrvtt_mc"):
        shutil.copytree(REAL / name, root, dirs_exist_ok=True)
    index = json.loads((root / "jsfusion_val_caption_idx.json").read_text())
    with (root / "MSRVTT_JSFUSION_test.csv").open(newline="") as stream:
        sentences = {row["video_id"]: row["sentence"] for row in csv.DictReader(stream)}
    captions = []
    for video in (f"video{number}" for number in range(10_000)):
        query = index.get(video, 0)
        captions += [{"image_id": video, "caption": f"{video} {n}"} for n in range(query)]
        captions.append({"image_id": video, "caption": sentences.get(video, video)})
    (root / "MSR_VTT.json").write_text(json.dumps({"annotations": captions}))
    return root


@pytest.mark.parametrize("protocol", ["1k-A", "miech", "full"])
def test_real_lists_have_the_expected_counts(real: Path, tmp_path: Path, protocol: str) -> None:
    built = build_manifest("msrvtt", real, tmp_path / "m.parquet", protocol)
    splits = load_spec("msrvtt").protocols[protocol].splits
    assert built.manifest.counts() == {name: split.videos for name, split in splits.items()}
    asked = [(item.split, q) for item in built.manifest for q in item.questions]
    if protocol == "full":
        assert sum(split == "val" for split, _ in asked) == 12_278
        assert sum(bool(q.options) for _, q in asked) == 2_990
        assert built.left_out == {} and built.absent == ("qa_train", "qa_test")
    if protocol == "1k-A":
        queries = [item.captions for item in built.manifest if item.split == "test"]
        assert all(len(query) == 1 for query in queries) and len(set(queries)) == 995
        assert sum(bool(q.options) for _, q in asked) + built.left_out["mc_test"] == 2_990


def _items(root: Path) -> list[Item]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return list(build_manifest("msrvtt", root, Path(folder) / "m.parquet").manifest)
