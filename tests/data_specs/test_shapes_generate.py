"""Writing a shapes data set: whole files, true boxes, both layouts, the fixture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from data_specs.build import build_manifest
from data_specs.errors import InputError
from data_specs.shapes.captions import captions, identifying
from data_specs.shapes.generate import RECORD, generate, plan_clips, read_clips, split_counts
from data_specs.shapes.questions import ANSWERS
from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import CLASS_NAMES

FIXTURE = Path(__file__).parents[1] / "fixtures/msrvtt10"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("native")
    generate(out, 5, seed=3)
    return out


def test_the_same_seed_writes_the_same_bytes(native: Path, tmp_path: Path) -> None:
    calls = []
    generate(tmp_path, 5, seed=3, progress=lambda done, total: calls.append((done, total)))
    assert files_of(tmp_path) == files_of(native)
    assert calls == [(n, 5) for n in range(1, 6)]


def test_the_native_layout_builds(native: Path, tmp_path: Path) -> None:
    built = build_manifest("shapes", native, tmp_path / "m.parquet")
    assert built.manifest.counts() == {"train": 3, "val": 1, "test": 1}
    assert built.manifest.info.protocol == "shapes/first-caption"
    assert set(built.manifest.info.sources) == {f"annotations/{s}.jsonl" for s in ("train", "val", "test")}
    keys = [question.key for item in built.manifest for question in item.questions]
    assert len(set(keys)) == len(keys)
    for item in built.manifest:
        assert (native / item.path).stat().st_size > 0
        assert len(item.captions) == 8
        assert [q.answer_type for q in item.questions if q.options] == ["multiple_choice"]


def test_boxes_are_those_of_the_frames(native: Path) -> None:
    tree = json.loads((native / "boxes/train.json").read_text())
    scenes = {clip.id: clip.scene for clip in plan_clips(5, 3, "native")}
    assert [category["name"] for category in tree["categories"]] == list(CLASS_NAMES)
    assert len(tree["images"]) == 3 * 30
    for image in tree["images"][::17]:
        truth = render_frame(scenes[image["video_id"]], image["timestamp"])
        found = [a for a in tree["annotations"] if a["image_id"] == image["id"]]
        assert [a["category_id"] for a in found] == truth.labels.tolist()
        for annotation, box, visible in zip(found, truth.boxes.tolist(), truth.visible, strict=True):
            x, y, w, h = annotation["bbox"]
            assert [x, y, x + w, y + h] == box
            assert annotation["visible"] == pytest.approx(float(visible), abs=1e-4)


def test_both_layouts_show_the_same_clips(native: Path, tmp_path: Path) -> None:
    generate(tmp_path, 5, seed=3, layout="msrvtt", splits={"train": 3, "test": 2})
    one, other = files_of(native), files_of(tmp_path)
    assert one["videos/train-000001.mp4"] == other["videos/all/video1.mp4"]
    assert one["videos/test-000000.mp4"] == other["videos/all/video3.mp4"]


def test_an_interrupted_run_leaves_no_half_written_file(native: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, 5, seed=3, progress=stop)
    left = files_of(tmp_path)
    assert sorted(left) == ["shapes.json", "videos/train-000000.mp4", "videos/train-000001.mp4"]
    (tmp_path / "videos/.train-000002.mp4.0123456789ab.partial").write_bytes(b"of a run that was killed")
    made = (tmp_path / "videos/train-000000.mp4").stat().st_mtime_ns
    generate(tmp_path, 5, seed=3, workers=2)
    assert files_of(tmp_path) == files_of(native)
    assert (tmp_path / "videos/train-000000.mp4").stat().st_mtime_ns == made  # it went on


def test_annotations_never_stand_beside_clips_of_another_run(native: Path, tmp_path: Path) -> None:
    shutil.copytree(native, tmp_path, dirs_exist_ok=True)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, 5, seed=4, progress=stop)
    assert not any(name.startswith(("annotations/", "boxes/")) for name in files_of(tmp_path))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "annotation").mkdir()
    (tmp_path / "annotation/MSR_VTT.json").write_text("the real one")
    with pytest.raises(InputError, match="is not empty and holds no shapes data set"):
        generate(tmp_path, 3, layout="msrvtt")
    assert files_of(tmp_path) == {"annotation/MSR_VTT.json": b"the real one"}


def test_families_of_an_older_world_are_not_taken_for_todays(tmp_path: Path) -> None:
    generate(tmp_path, 12, seed=3, splits={"train": 4, "val": 4, "test": 4}, families=True)
    clips, families = read_clips(tmp_path)
    assert len(clips) == 12 and families
    asked = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(asked | {"families": asked["families"] - 1}))
    with pytest.raises(InputError, match="make the data set again"):
        read_clips(tmp_path)


def test_split_counts_add_up() -> None:
    for videos in range(3, 200):
        counts = split_counts(videos)
        assert sum(counts.values()) == videos and min(counts.values()) >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"videos": 2}, "at least 3"),
        ({"videos": 5, "layout": "msrvt"}, "did you mean msrvtt"),
        ({"videos": 5, "splits": {"train": 4}}, "do not add up to 5"),
        ({"videos": 5, "splits": {"tain": 5}}, "did you mean train"),
        ({"videos": 5, "splits": {"train": 4, "val": 1}, "layout": "msrvtt"}, "has train and test, no val"),
    ],
)
def test_wrong_requests(tmp_path: Path, arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        generate(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_fixture_is_what_the_generator_says(tmp_path: Path) -> None:
    clips = plan_clips(10, 0, "msrvtt")
    tree = json.loads((FIXTURE / "annotation/MSR_VTT.json").read_text())
    for clip in clips:
        found = [a["caption"] for a in tree["annotations"] if a["image_id"] == clip.id]
        assert found == [caption.text for caption in captions(clip.scene, 20)]
    boxes = json.loads((FIXTURE / "boxes/test.json").read_text())
    scene = next(clip.scene for clip in clips if clip.id == boxes["images"][0]["video_id"])
    truth = render_frame(scene, 0.0)
    assert boxes["annotations"][0]["bbox"][:2] == truth.boxes[0, :2].tolist()


def test_the_fixture_is_small_and_its_clips_can_be_told_apart() -> None:
    videos = sorted((FIXTURE / "videos/all").glob("*.mp4"))
    assert len(videos) == 10
    assert sum(path.stat().st_size for path in videos) < 500_000
    clips = plan_clips(10, 0, "msrvtt")
    for clip in clips:
        others = [other.scene for other in clips if other is not clip]
        assert identifying(captions(clip.scene, 20)[0], others)
    index = json.loads((FIXTURE / "high-quality/structured-symlinks/jsfusion_val_caption_idx.json").read_text())
    assert len(set(index.values()) - {0}) > 1  # the first caption would be the wrong query
    for clip in clips[6:]:
        others = [other.scene for other in clips[6:] if other is not clip]
        assert identifying(captions(clip.scene, 20)[index[clip.id]], others)


def test_the_answer_vocabulary_covers_the_questions() -> None:
    answers = json.loads((FIXTURE / "msrvtt_qa/msrvtt_train_ans2label.json").read_text())
    assert list(answers) == list(ANSWERS) and list(answers.values()) == list(range(len(ANSWERS)))
    for split in ("train", "test"):
        for line in (FIXTURE / f"msrvtt_qa/msrvtt_qa_{split}.jsonl").read_text().splitlines():
            assert json.loads(line)["answer"] in answers
