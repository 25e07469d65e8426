"""Results side by side: what is put together, what is kept apart and why, the curves, and the pages."""

from __future__ import annotations

import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from data_specs.errors import InputError
from data_specs.shards import Provenance
from evaluate.__main__ import main
from evaluate.comparison.curves import charts, short_number
from evaluate.comparison.groups import apart, differences, grouped
from evaluate.comparison.pairs import pairs
from evaluate.comparison.runs import read_runs
from evaluate.comparison.svg import drawing, x_share, y_range
from evaluate.export import RANKS_NAME, Asked, write_ranks
from evaluate.metrics import rank
from evaluate.result import (
    Confusion,
    Direction,
    MultipleChoiceResult,
    QuestionAnsweringResult,
    QuestionGroup,
    RetrievalResult,
)
from evaluate.similarity import Scores
from train.history import Learnt, LearntFrom


def provenance(**changed: object) -> Provenance:
    facts = {
        "dataset": "msrvtt", "manifest_sha256": "0", "detector": "frcnn", "weights_sha256": "1",
        "detector_settings": {}, "box_convention": "xyxywha", "sampling": "uniform", "frames": 8, "regions": 30,
        "feature_dim": 16, "ffmpeg": "7",
    }  # fmt: skip
    return Provenance.model_validate(facts | changed)


def direction(recall: float, number: int, planned: int, width: float = 1) -> Direction:
    figures = {"R@1": recall, "R@5": recall + 20, "R@10": recall + 30, "MedR": 3.0, "MeanR": 9.0, "GeoMean": 40.0}
    around = {name: (value - 2 * width, value + 3 * width) for name, value in figures.items()}
    return Direction(
        figures=figures, intervals=around, optimistic=figures, chance=figures, queries=number,
        queries_planned=planned, candidates=number, candidates_planned=planned,
    )  # fmt: skip


def common(frames: int, regions: int, videos: int, planned: int, **changed: object) -> dict[str, object]:
    return {
        "protocol": "msrvtt/1k-A", "splits": ("test",), "setting": "tuned", "videos": videos, "videos_planned": planned,
        "missing": planned - videos, "missing_list": "missing.jsonl" if videos < planned else None, "frames": frames,
        "regions": regions, "score": "global cosine", "bootstrap": {"resamples": 9, "seed": 0},
        "model_sha256": "a" * 64, "manifest_sha256": "b" * 64, "shards": provenance(),
    } | changed  # fmt: skip


class Maker:
    """Writes results as evaluations do, into folders of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def retrieval(
        self,
        name: str,
        recall: float,
        frames: int = 8,
        regions: int = 30,
        absent: tuple[str, ...] = (),
        **changed: object,
    ) -> Path:
        facts = common(frames, regions, 100 - len(absent), 100, **changed)
        found = {
            "text_to_video": direction(recall, 100 - len(absent), 100),
            "video_to_text": direction(recall - 1, 100 - len(absent), 100),
        }
        result = RetrievalResult(queries_rule="first", **found | facts)  # fmt: skip
        return self._write(name, "retrieval.json", result.model_dump_json(), absent)

    def choice(self, name: str, accuracy: float, frames: int = 8, **changed: object) -> Path:
        facts = common(frames, 30, 50, 50, **({"protocol": "msrvtt/mc"} | changed))
        result = MultipleChoiceResult(
            accuracy=accuracy, accuracy_interval=(accuracy - 1, accuracy + 1), optimistic=accuracy, chance=20.0,
            questions=50, questions_planned=50, options={5: 50}, **facts,
        )  # fmt: skip
        return self._write(name, "multiple_choice.json", result.model_dump_json())

    def questions(self, name: str, accuracy: float, vocabulary: int = 1500) -> Path:
        facts = common(8, 30, 50, 50, protocol="msrvtt/qa")
        group = QuestionGroup(name="what", questions=70, covered=60, accuracy=accuracy, accuracy_interval=(1.0, 99.0))
        result = QuestionAnsweringResult(
            accuracy=accuracy, accuracy_interval=(accuracy - 1, accuracy + 1), questions=70, questions_planned=70,
            vocabulary=vocabulary, covered=60, majority_answer="man", majority_accuracy=9.5, majority_from="train",
            by_answer_type=(group,), by_question_word=(group,), confusion=Confusion(answers=("man",), counts=((7, 2),)),
            **facts,
        )  # fmt: skip
        return self._write(name, "question_answering.json", result.model_dump_json())

    def _write(self, name: str, file: str, text: str, absent: tuple[str, ...] = ()) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
        if absent:
            (folder / "missing.jsonl").write_text("".join(json.dumps({"id": i}) + "\n" for i in absent))
        return folder


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def learnt(steps: int) -> tuple[Learnt, ...]:
    source = LearntFrom(dataset="webvid", manifest_sha256="0", splits=("train",))
    return (Learnt(objective="contrastive", sources=(source,), frames=1, regions=30, steps=steps, batch_size=128),)


def test_results_are_found_in_a_folder_in_its_report_and_by_file(make: Maker) -> None:
    make.retrieval("runs/one/report", 30.0)
    make.choice("runs/one/report", 90.0)
    make.retrieval("runs/two", 31.0)
    make.retrieval("runs/three", 32.0)
    (make.root / "runs/three/retrieval.json").rename(make.root / "runs/three/late.json")
    runs = read_runs([make.root / "runs/one", make.root / "runs/two", make.root / "runs/three/late.json"])
    assert [(run.label, run.result.task) for run in runs] == [
        ("one/report", "retrieval"),
        ("one/report", "multiple-choice"),
        ("two", "retrieval"),
        ("three/late", "retrieval"),
    ]
    assert [run.headline.value for run in runs] == [30.0, 90.0, 31.0, 32.0]
    assert (runs[0].headline.low, runs[0].headline.high) == (28.0, 33.0)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["a/report"], ["a"]),
        (["a/report", "b/report"], ["a", "b"]),
        (["x/1/report", "x/2/report", "y/1/report"], ["x/1", "x/2", "y/1"]),
        (["a", "a/report"], ["a", "report"]),
    ],
)
def test_labels_are_what_differs(make: Maker, names: list[str], labels: list[str]) -> None:
    for name in names:
        make.retrieval(name, 30.0)
    assert [run.label for run in read_runs([make.root / name / "retrieval.json" for name in names])] == labels


def test_like_with_like(make: Maker) -> None:
    make.retrieval("a", 30.0, frames=1)
    make.retrieval("b", 31.0, frames=4, model_sha256="c" * 64)
    make.choice("a", 90.0)
    make.retrieval("full", 20.0, protocol="msrvtt/full")
    make.retrieval("val", 20.0, splits=("val",))
    make.retrieval("holes", 30.0, absent=("v1", "v2"))
    make.retrieval("same-holes", 30.0, absent=("v2", "v1"))
    make.retrieval("other-holes", 30.0, absent=("v3", "v4"))
    make.retrieval("more-holes", 30.0, absent=("v1", "v2", "v3"))
    names = ["a", "b", "full", "val", "holes", "same-holes", "other-holes", "more-holes"]
    groups = grouped(read_runs([make.root / name for name in names]))
    assert [[run.label for run in group.runs] for group in groups] == [
        ["a", "b"], ["a"], ["full"], ["val"], ["holes", "same-holes"], ["other-holes"], ["more-holes"],
    ]  # fmt: skip
    first, choice, full, val, holes, other, more = (group.key for group in groups)
    assert first.counted == "100 queries, 100 videos"
    assert choice.counted == "50 questions, 50 videos"
    assert holes.counted == "98/100 queries, 98/100 videos"
    assert apart(choice, first) == ["another task than retrieval on msrvtt/1k-A"]
    assert apart(full, first) == ["protocol msrvtt/full, not msrvtt/1k-A"]
    assert apart(val, first) == ["split val, not test"]
    assert apart(holes, first) == ["98/100 queries, 98/100 videos, not 100 queries, 100 videos"]
    assert apart(other, holes) == ["other videos are missing"]
    assert apart(more, holes) == ["97/100 queries, 97/100 videos, not 98/100 queries, 98/100 videos"]
    assert [group.complete for group in groups] == [True] * 4 + [False] * 3


def test_without_the_list_nothing_is_known_of_what_is_missing(make: Maker) -> None:
    for name in ("a", "b", "c"):
        make.retrieval(name, 30.0, absent=("v1", "v2"))
    (make.root / "a/missing.jsonl").unlink()
    (make.root / "b/missing.jsonl").write_text('{"id": "v1"}\n')  # another evaluation's list
    assert len(grouped(read_runs([make.root / name for name in "abc"]))) == 3


def test_what_differs_is_named(make: Maker) -> None:
    same = read_runs([make.retrieval("a", 30.0, frames=1), make.retrieval("b", 31.0, frames=4, regions=10)])
    assert differences(same) == []
    other = make.retrieval(
        "c", 32.0, model_sha256="c" * 64, setting="zero-shot", score="global cosine + more",
        shards=provenance(detector="yolo", sampling="random"),
    )  # fmt: skip
    assert differences([*same, *read_runs([other])]) == [
        "the model",
        "what is known of its training data (setting)",
        "the score",
        "the detector",
        "the frames' sampling",
    ]


def test_questions_are_compared_whatever_the_vocabulary_and_that_is_said(make: Maker) -> None:
    (group,) = grouped(read_runs([make.questions("a", 38.0), make.questions("b", 39.0, vocabulary=2000)]))
    assert group.key.counted == "70 questions, 50 videos"
    assert [list(run.measures) for run in group.runs] == [["accuracy", "majority answer"]] * 2
    assert group.runs[1].headline.interval == (38.0, 40.0)
    assert differences(group.runs) == ["the answer vocabulary"]


def test_curves_join_runs_that_differ_in_one_thing(make: Maker) -> None:
    made = [
        make.retrieval(f"r{r}f{f}", 10.0 * i + f, frames=f, regions=r)
        for i, r in enumerate((10, 30))
        for f in (8, 1, 4)
    ]
    (group,) = grouped(read_runs(made))
    frames, regions = charts(group)
    assert [curve.name for curve in frames.curves] == ["10 regions a frame", "30 regions a frame"]
    assert [[(p.x, p.y) for p in c.points] for c in frames.curves] == [
        [(1, 1.0), (4, 4.0), (8, 8.0)],
        [(1, 11.0), (4, 14.0), (8, 18.0)],
    ]
    assert [curve.name for curve in regions.curves] == ["8 frames", "1 frame", "4 frames"]
    assert [[(p.x, p.y) for p in c.points] for c in regions.curves][1] == [(10, 1.0), (30, 11.0)]
    assert all(curve.joined for chart in (frames, regions) for curve in chart.curves)
    assert frames.caption == "The runs differ in frames alone, as far as their results say."


def test_curves_keep_scores_and_settings_apart_and_do_not_join_repeats(make: Maker) -> None:
    made = [make.retrieval(f"a{f}", 30.0 + f, frames=f, model_sha256=f"{f}" * 64) for f in (1, 4)]
    made += [make.retrieval(f"b{f}", 20.0 + f, frames=f, setting="zero-shot") for f in (1, 4)]
    made += [make.retrieval("again", 33.0, frames=4, model_sha256="9" * 64)]
    made += [make.retrieval("alone", 33.0, frames=2, score="another")]
    (group,) = grouped(read_runs(made))
    (chart,) = charts(group)
    assert [(curve.name, len(curve.points), curve.joined) for curve in chart.curves] == [
        ("tuned", 3, False),
        ("zero-shot", 2, True),
    ]
    assert "the model" in chart.caption and "setting" in chart.caption


def test_a_curve_against_what_the_models_learnt_from(make: Maker) -> None:
    made = [make.retrieval(f"a{n}", 30.0 + n, history=learnt(10**n), model_sha256=f"{n}" * 64) for n in (2, 3, 4)]
    (group,) = grouped(read_runs([*made, make.retrieval("silent", 20.0)]))
    (chart,) = charts(group)
    assert [point.x for point in chart.curves[0].points] == [12_800, 128_000, 1_280_000]
    assert chart.logarithmic and x_share(chart, 128_000) == pytest.approx(0.5)


def test_axes_hold_every_interval_in_round_numbers(make: Maker) -> None:
    made = [make.retrieval(f"a{f}", 30.0 + f, frames=f) for f in (1, 4, 8)]
    (chart,) = charts(grouped(read_runs(made))[0])
    low, high, step = y_range(chart)
    assert low <= 29.0 and high >= 41.0 and 3 <= (high - low) / step <= 7
    perfect = [
        make.retrieval(f"perfect{f}", 100.0, frames=f, text_to_video=direction(100.0, 100, 100, 0)) for f in (1, 4)
    ]
    (chart,) = charts(grouped(read_runs(perfect))[0])
    assert y_range(chart) == (99.5, 100.0, 0.5) and "<svg" in drawing(chart)
    assert [short_number(n) for n in (1, 30, 9_999, 12_800, 1_280_000, 3e9)] == [
        "1",
        "30",
        "9999",
        "12.8k",
        "1.28M",
        "3G",
    ]


class Page(HTMLParser):
    """What a page asks for from elsewhere, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster")]

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


def test_the_command_writes_page_picture_and_table(make: Maker) -> None:
    made = [make.retrieval(f"frames{f}/report", 30.0 + f, frames=f, note="<b>&") for f in (1, 4)]
    made += [make.retrieval("partial/report", 29.0, absent=("v1",))]
    make.choice("frames1/report", 91.5)
    result = CliRunner().invoke(main, ["compare", *map(str, made), "--out", str(make.root / "out")])
    assert result.exit_code == 0, result.output
    for word in ("frames4", "34.0 (32.0–37.0)", "91.5 (90.5–92.5)", "99/100 videos", "not compared with"):
        assert word in result.stdout
    page = Page((make.root / "out/compare.html").read_text())
    assert page.links == [] and "script" not in page.tags
    assert page.tags.count("svg") == 1
    for word in ("<b>&", "99/100 queries", "91.5 %", "32.0–37.0", "Not compared with", "GPU-hours", "1,600"):
        assert word in page.words
    png = (make.root / "out/compare.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and width > 800 and height > 400


def answers(folder: Path, correct: list[float], **changed: list[str]) -> None:
    columns = {"key": [f"q{i}" for i in range(50)], "video": [f"v{i // 2}" for i in range(50)], "correct": correct}
    pq.write_table(pa.table(columns | changed), folder / "choices.parquet")


def test_runs_that_wrote_their_answers_are_compared_question_by_question(make: Maker) -> None:
    right = {"a": 30, "b": 40, "c": 40, "silent": 45}
    made = [make.choice(name, 2.0 * number) for name, number in right.items()]
    for folder, number in zip(made[:3], right.values(), strict=False):
        answers(folder, [1.0] * number + [0.0] * (50 - number))
    answers(made[2], [1.0] * 40 + [0.0] * 10, key=[f"other{i}" for i in range(50)])
    (group,) = grouped(read_runs(made))
    better, other = pairs(group)
    assert (better.label, better.base) == ("b", "a")
    assert better.difference is not None and better.difference.points == pytest.approx(20.0)
    assert better.difference.settled and 0 < better.difference.interval[0] < 20 < better.difference.interval[1]
    assert other.difference is None and "same queries" in str(other)
    result = CliRunner().invoke(main, ["compare", *map(str, made), "--out", str(make.root / "out")])
    assert result.exit_code == 0, result.output
    assert "b minus a: +20.0 points" in result.stdout
    page = Page((make.root / "out/compare.html").read_text())
    for word in ("b minus a", "+20.0", "does not hold 0", "c minus a", "same queries"):
        assert word in page.words


def ranked(folder: Path, right: int, tied: int = 0) -> None:
    """Exports of a retrieval among 100 videos: so many sentences find theirs, for so many two videos tie."""
    scores_CB = np.eye(100, dtype=np.float32)
    scores_CB[right:] = np.roll(scores_CB[right:], 1, axis=1)
    for row in range(right, right + tied):
        scores_CB[row, row] = 1.0
    rows = np.arange(100)
    asked = Asked([f"v{i}" for i in rows], [f"sentence {i}" for i in rows], rows, rows)
    rankings = rank(scores_CB, rows, rows), rank(scores_CB.T, rows, rows)
    write_ranks(folder / RANKS_NAME, Scores(torch.from_numpy(scores_CB), None), asked, *rankings, {})


def test_retrievals_are_compared_sentence_by_sentence(make: Maker) -> None:
    made = [make.retrieval("a", 30.0), make.retrieval("b", 45.0)]
    ranked(made[0], 30)
    ranked(made[1], 40, tied=10)
    (pair,) = pairs(grouped(read_runs(made))[0])
    assert pair.difference is not None and pair.difference.points == pytest.approx(15.0)
    assert 0 < pair.difference.interval[0] < 15 < pair.difference.interval[1]
    ranked(made[1], 41)
    with pytest.raises(InputError, match="not of the result beside it"):
        pairs(grouped(read_runs(made))[0])
    pq.write_table(pq.read_table(made[1] / RANKS_NAME).replace_schema_metadata(None), made[1] / RANKS_NAME)
    with pytest.raises(InputError, match="not the ranks of a retrieval"):
        pairs(grouped(read_runs(made))[0])


def test_answers_of_another_evaluation_are_refused(make: Maker) -> None:
    made = [make.choice("a", 60.0), make.choice("b", 80.0)]
    for folder in made:
        answers(folder, [1.0] * 30 + [0.0] * 20)
    with pytest.raises(InputError, match="not of the result beside it"):
        pairs(grouped(read_runs(made))[0])
    (made[1] / "choices.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as a table"):
        pairs(grouped(read_runs(made))[0])


def test_questions_without_keys_are_told_apart_by_their_place(make: Maker) -> None:
    made = [make.choice("a", 60.0), make.choice("b", 80.0)]
    for folder, right in zip(made, (30, 40), strict=True):
        answers(folder, [1.0] * right + [0.0] * (50 - right), key=[""] * 50)
    (pair,) = pairs(grouped(read_runs(made))[0])
    assert pair.difference is not None and pair.difference.points == pytest.approx(20.0)


@pytest.mark.parametrize("correct", [[None] * 50, [float("nan")] * 50, ["x"] * 50])
def test_a_table_without_numbers_is_refused(make: Maker, correct: list[object]) -> None:
    made = [make.choice("a", 60.0), make.choice("b", 80.0)]
    answers(made[0], [1.0] * 30 + [0.0] * 20)
    answers(made[1], correct)
    with pytest.raises(InputError, match=r"choices\.parquet: (not of the result|column correct)"):
        pairs(grouped(read_runs(made))[0])


def test_one_result_is_a_table_of_one(make: Maker) -> None:
    make.choice("alone", 80.0)
    result = CliRunner().invoke(main, ["compare", str(make.root / "alone"), "--out", str(make.root / "out")])
    assert result.exit_code == 0, result.output
    page = Page((make.root / "out/compare.html").read_text())
    assert "1 result side by side" in page.words and "GPU-hours" not in page.words
    assert "svg" not in page.tags


def test_the_picture_is_the_same_twice(make: Maker) -> None:
    made = [str(make.retrieval(f"a{f}", 30.0 + f, frames=f)) for f in (1, 4)]
    for out in ("one", "two"):
        assert CliRunner().invoke(main, ["compare", *made, "--out", str(make.root / out)]).exit_code == 0
    for name in ("compare.png", "compare.html"):
        assert (make.root / "one" / name).read_bytes() == (make.root / "two" / name).read_bytes()


def test_bad_runs_are_one_line(make: Maker) -> None:
    good = make.retrieval("good", 30.0)
    (make.root / "empty").mkdir()
    (make.root / "broken.json").write_text("{")
    (make.root / "other.json").write_text('{"task": "cooking"}')
    (make.root / "short.json").write_text('{"task": "retrieval"}')
    (make.root / "list.json").write_text('{"task": ["retrieval"]}')
    (make.root / "deep.json").write_text("[" * 100_000)
    figures = {name: 1.0 for name in ("R@5", "R@10", "MedR", "MeanR", "GeoMean")}
    old = direction(30.0, 100, 100).model_dump() | {"figures": figures}
    facts = json.loads((good / "retrieval.json").read_text()) | {"text_to_video": old}
    (make.root / "old.json").write_text(json.dumps(facts))
    for runs, said in (
        ([make.root / "none"], r"none: no such folder; python -m evaluate retrieval\|.*writes them"),
        ([make.root / "empty"], r"empty: none of retrieval.json, multiple_choice.json, .* here or in report/"),
        ([make.root / "broken.json"], "broken.json: cannot be read as JSON"),
        ([make.root / "other.json"], "other.json: not a result of an evaluation: its task is 'cooking'"),
        ([make.root / "short.json"], "short.json: key 'protocol' is missing"),
        ([make.root / "list.json"], "list.json: not a result"),
        ([make.root / "deep.json"], "deep.json: cannot be read as JSON"),
        ([make.root / "old.json"], "old.json: .*figures: R@1 is missing"),
        ([good, good / "retrieval.json"], "retrieval.json is given twice"),
    ):
        with pytest.raises(InputError, match=said):
            read_runs(runs)
        result = CliRunner().invoke(main, ["compare", *map(str, runs), "--out", str(make.root / "out")])
        assert result.exit_code == 2 and len(re.findall("Error: ", result.stderr)) == 1
    assert not (make.root / "out").exists()
    result = CliRunner().invoke(main, ["compare", str(good), "--out", str(make.root / "deep.json")])
    assert result.exit_code == 2 and "cannot be written" in result.stderr
    assert CliRunner().invoke(main, ["compare", "--out", str(make.root / "out")]).exit_code == 2


def test_help_teaches() -> None:
    result = CliRunner().invoke(main, ["compare", "--help"])
    assert result.exit_code == 0
    for word in ("RUN...", "frames", "regions", "missing", "python -m evaluate compare"):
        assert word in result.output
