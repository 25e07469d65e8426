"""The page: whole, self-contained, escaped, and showing what it says."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from data_specs.failures import MediaError
from data_specs.media import Limits, find_tool, run_tool
from data_specs.regions import boxes_from_corners
from data_specs.stills import still
from evaluate import metrics
from evaluate.drawing.alignment import Alignment
from evaluate.drawing.charts import rank_chart, recall_chart
from evaluate.embed import Looks
from evaluate.gallery import boxes_of, choose_queries, iou, margins, shown_regions, words_of
from evaluate.inputs import open_inputs
from evaluate.reports.retrieval import write_report
from evaluate.retrieval import Retrieval, RetrievalOptions, evaluate_retrieval

VOID = {"meta", "img", "br"}
EVIL = 'the <script>alert("anvil")</script> "moves" & moves'


class Page(HTMLParser):
    """Checks that tags close in order and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, tag: str, name: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag and name in (attrs.get("class") or "").split()]


def made_video(folder: Path, name: str = "grey.avi") -> Path:
    """Ten frames at 5 a second; frame i is grey of level 20 i + 10, so that each can be told from the others."""
    frames = np.repeat(np.arange(10, dtype=np.uint8) * 20 + 10, 48 * 64)
    raw, path = folder / "frames.gray", folder / name
    raw.write_bytes(frames.tobytes())
    arguments = "-v error -f rawvideo -pix_fmt gray -s 64x48 -r 5 -i pipe:0 -c:v mjpeg -q:v 2 -pix_fmt yuvj420p -y"
    with raw.open("rb") as stream:
        done = run_tool([str(find_tool("ffmpeg")), *arguments.split(), str(path)], Limits(), stdin=stream)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def page_of(stand_in, make_world, tmp_path):
    def make(captions=None, media_root=None, labels=(), absent=(), **options) -> tuple[Page, str, Retrieval]:
        world = make_world(captions, absent=absent)
        settings = RetrievalOptions.model_validate({"resamples": 20, "queries": "first", **options})
        inputs = open_inputs(tmp_path / "no-model", world.shards, world.manifest)
        found = evaluate_retrieval(stand_in, inputs, tmp_path, settings)
        path = write_report(tmp_path / "page.html", found, 20.0, media_root=media_root, labels=labels)
        text = path.read_text(encoding="utf-8")
        return Page(text), text, found

    return make


def test_page_is_self_contained(page_of, tmp_path) -> None:
    made_video(tmp_path, "globe.mp4.avi").rename(tmp_path / "globe.mp4")
    page, text, _ = page_of(media_root=tmp_path)
    without_pictures = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_pictures, re.IGNORECASE)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "form", "base")]
    pointers = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "srcset", "action") if name in attrs]
    assert pointers and all(pointer.startswith("data:image/jpeg;base64,") for pointer in pointers)
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_untrusted_text_is_escaped_everywhere(page_of, tmp_path) -> None:
    page, text, _ = page_of(
        {"globe": (EVIL,)}, media_root=tmp_path, labels=("<b>x</b>", "'y\""), note="<i>note</i> & more"
    )
    assert "<script" not in text and "<i>note" not in text and "<b>x" not in text
    assert EVIL in page.text
    assert "<i>note</i> & more" in page.text
    assert "<b>x</b>" in page.text


def test_page_shows_figures_queries_words_and_boxes(page_of) -> None:
    page, _, found = page_of(labels=("thing one", "thing two"), frames=1)
    assert "made-up/all" in page.text
    assert "test split · 4 queries (the first caption of each video) · 4 videos" in page.text
    assert "100.0 %" in page.text and "4 queries, 4 candidates" in page.text
    assert len(page.having("li", "hit")) == 4
    assert all(sentence in page.text for sentence in found.plan.sentences)
    assert "no --media-root was given" in page.text and len(page.having("div", "bare")) == 4 * 4 + 4
    words = page.having("span", "word")
    assert len(words) == 4 * 3
    # "the globe moves": the only word that regions answer to is the thing, and its number is on a box
    assert [w["data-box"] for w in words] == ["0", "1", "0"] * 4
    boxes = [attrs for attrs in page.having("g", "box") if attrs["data-box"] == "1"]
    assert len(boxes) >= 4
    assert "thing one" in page.text
    first = next(attrs for attrs in page.having("rect", "edge"))
    assert float(first["width"]) in (16.0, 30.0)


def test_training_videos_are_called_a_check(page_of) -> None:
    page, _, _ = page_of(splits=("train", "test"))
    assert "A check of the plumbing, not a result." in page.text
    other, _, _ = page_of()
    assert "plumbing" not in other.text


def test_missing_videos_stand_on_the_page(page_of) -> None:
    page, _, _ = page_of(absent=["jug"], allow_missing=True)
    assert "3/4 videos." in page.text
    assert "3/4 queries, 3/4 candidates" in page.text


def test_ties_show_the_optimistic_figure_beside(page_of) -> None:
    page, _, _ = page_of({thing: ("moves",) for thing in ("globe", "harp", "inkwell", "jug")})
    assert "25.0 %" in page.text
    assert "With every tie broken in the model's favour it would be R@1 100.0" in page.text
    assert "rank 2.5" in page.text


def test_all_queries_when_few_else_best_typical_worst() -> None:
    ranks = np.arange(1.0, 13.0)
    assert choose_queries(ranks, np.zeros(12)) == [("all", c) for c in range(12)]
    ranks = np.array([1.0] * 10 + [2.0, 3.0, 4.0, 8.0, 9.0])
    chosen = choose_queries(ranks, np.linspace(0, 1, 15))
    assert chosen[:3] == [("best", 9), ("best", 8), ("best", 7)]
    assert chosen[-3:] == [("worst", 14), ("worst", 13), ("worst", 12)]
    assert len({c for _, c in chosen}) == 9


def test_margins_by_hand() -> None:
    scores = np.array([[0.5, 0.2, 0.1], [0.9, 0.3, 0.2]])
    assert margins(scores, np.array([0, 1])) == pytest.approx([0.3, -0.6])


def looks_of(corners: list[list[float]], frames: int) -> Looks:
    boxes = boxes_from_corners(np.array(corners, np.float32), (100, 100))[:, :4].reshape(frames, -1, 4)
    return Looks(boxes, np.zeros(boxes.shape[:2], np.int32), tuple(range(frames)), (100, 100))


def test_shown_regions_are_of_one_frame_and_one_an_object() -> None:
    looks = looks_of(
        [[0, 0, 10, 10], [50, 50, 70, 70], [0, 0, 10, 10], [1, 0, 10, 10], [40, 40, 60, 60], [0, 0, 0, 0]], 2
    )
    mask = np.array([1, 1, 0, 1, 1, 0], bool)
    aligned = Alignment(("a", "b"), np.full((6, 2), 0.5), np.array([0.1, 0.2, 0.0, 0.9, 0.4, 0.0]))
    assert shown_regions(aligned, mask, looks, 6).tolist() == [3, 4]
    assert shown_regions(aligned, mask, looks, 1).tolist() == [3]
    mask[:] = False
    assert len(shown_regions(aligned, mask, looks, 6)) == 0
    same = looks_of([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], 1)
    three = Alignment(("a",), np.ones((3, 1)), np.array([0.9, 0.8, 0.1]))
    assert shown_regions(three, np.ones(3, bool), same, 6).tolist() == [0, 2]


def test_words_point_at_the_box_that_answers() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    aligned = Alignment(("x", "y", "z"), shares, np.array([0.5, 0.3]))
    assert [w.box for w in words_of(aligned, np.array([0, 1]))] == [1, 2, 0]
    assert [w.box for w in words_of(aligned, np.array([1, 0]))] == [2, 1, 0]
    boxes = boxes_of(aligned, np.array([0, 1]), looks_of([[10, 20, 30, 60], [0, 0, 5, 5]], 1), ["name"])
    assert (boxes[0].x, boxes[0].y, boxes[0].width, boxes[0].height) == pytest.approx((10, 20, 20, 40), abs=1e-4)
    assert (boxes[0].number, boxes[0].label, boxes[0].weight, boxes[1].weight) == (1, "name", 1.0, 0.25)


def test_iou_by_hand() -> None:
    one, other = np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])
    assert iou(one, other) == pytest.approx(1 / 3)
    assert iou(one, one) == 1.0
    assert iou(np.zeros(4), np.zeros(4)) == 0.0


@pytest.mark.parametrize("candidates", [1, 2, 10, 25, 300])
def test_charts_are_whole_for_any_size(candidates: int) -> None:
    owners = np.arange(candidates)
    ranking = metrics.rank(np.random.default_rng(0).normal(size=(candidates, candidates)), owners, owners)
    for chart in (recall_chart(ranking, ranking), rank_chart(ranking, ranking)):
        page = Page(str(chart))
        assert "nan" not in chart and "inf" not in chart
        numbers = [float(v) for _, attrs in page.tags for k, v in attrs.items() if k in ("height", "width")]
        assert all(number >= 0 for number in numbers)


@pytest.mark.parametrize("index", [0, 1, 4, 9])
def test_still_is_the_frame_on_screen(tmp_path: Path, index: int) -> None:
    path = made_video(tmp_path)
    image = Image.open(io.BytesIO(still(path, index / 5)))
    assert (image.width, image.height) == (64, 48)
    assert_allclose(np.asarray(image.convert("L"), np.float64).mean(), 20 * index + 10, atol=4)


def test_still_is_scaled_down_and_never_up(tmp_path: Path) -> None:
    path = made_video(tmp_path)
    assert Image.open(io.BytesIO(still(path, 0.4, width=32))).size == (32, 24)
    assert Image.open(io.BytesIO(still(path, 99.0))).size == (64, 48)


def test_still_of_what_is_no_video_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video, not at all")
    for name in ("text.mp4", "absent.mp4"):
        with pytest.raises(MediaError):
            still(tmp_path / name, 0.0)
