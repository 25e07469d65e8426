"""Heat maps: the strongest region over a point, ever lighter, and the words in sight."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluate.drawing.alignment import Alignment
from evaluate.drawing.heat import ACROSS, OPEN_MAPS, grids_of, highest, is_content, opened, word_maps
from evaluate.embed import Looks

SIZE = (48, 64)


def looks_of(corners: list[list[float]]) -> Looks:
    boxes = np.array(corners, np.float32)[None] / (64, 48, 64, 48)
    return Looks(boxes.astype(np.float32), np.zeros(boxes.shape[:2], np.int32), (1.0,), SIZE)


def pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(0, 60), st.floats(0, 44), st.floats(0.5, 64), st.floats(0.5, 48)
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_a_point_has_the_strongest_region_over_it(drawn: list[tuple[float, ...]]) -> None:
    corners = np.array([[x, y, min(x + w, 64), min(y + h, 48)] for _, x, y, w, h in drawn])
    points = highest(np.array([value for value, *_ in drawn]), corners, SIZE)
    assert points.shape == (48, ACROSS)
    for row, column in ((0, 0), (20, 30), (47, 63)):
        over = [
            value
            for (value, *_), (x1, y1, x2, y2) in zip(drawn, np.rint(corners).astype(int).tolist(), strict=True)
            if x1 <= column < max(x2, x1 + 1) and y1 <= row < max(y2, y1 + 1)
        ]
        assert points[row, column] == max(over, default=0.0)


def test_maps_are_lightest_where_the_word_is_answered() -> None:
    looks = looks_of([[0, 0, 32, 48], [32, 0, 64, 48]])
    aligned = Alignment(("the", "dog"), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0.5, 0.6]))
    maps = word_maps(aligned, np.ones(2, bool), looks, ["pet"])
    assert [made.word for made in maps] == ["dog", "the"] and opened(maps) == 1
    (heat,) = maps[0].heats
    assert (heat.share, heat.number, heat.label) == (0.8, 2, "pet")
    assert heat.box == pytest.approx((32, 0, 32, 48))
    seen = pixels(heat.uri)
    assert seen[10, 50, :3].tolist() == [250, 240, 100] and seen[10, 50, :3].sum() > 4 * seen[10, 10, :3].sum()
    assert len(np.unique(seen[..., 3])) == 1  # as dark a veil everywhere: lighter means more


def test_a_word_that_no_region_answers_to_stays_dark() -> None:
    looks = looks_of([[0, 0, 32, 48], [32, 0, 64, 48]])
    aligned = Alignment(("dog", "runs"), np.array([[0.99, 0.01], [0.99, 0.01]]), np.zeros(2))
    dog, runs = word_maps(aligned, np.ones(2, bool), looks, [])
    assert pixels(dog.heats[0].uri)[..., :3].max() == 250
    assert pixels(runs.heats[0].uri)[..., :3].max() < 30


def test_of_many_words_the_most_answered_are_in_sight() -> None:
    words = tuple(f"w{i}" for i in range(OPEN_MAPS + 3))
    shares = np.arange(1.0, len(words) + 1)[None] / 100
    maps = word_maps(Alignment(words, shares, np.zeros(1)), np.ones(1, bool), looks_of([[0, 0, 9, 9]]), [])
    assert opened(maps) == OPEN_MAPS
    assert [made.word for made in maps] == [*words[3:], *words[:3]]


def test_grids_have_each_attention_of_the_frame_that_answers_best() -> None:
    looks = Looks(np.tile(np.array([0, 0, 1, 1], np.float32), (2, 2, 1)), np.zeros((2, 2), np.int32), (0.0, 1.0), SIZE)
    shares, sought = np.arange(8.0).reshape(4, 2) / 10, np.ones((4, 2)) / 4
    mask = np.array([1, 1, 1, 0], bool)
    aligned = Alignment(("a", "b"), shares, np.array([0.1, 0.1, 0.9, 0.0]), 0.0, sought)
    regions, words = grids_of(aligned, mask, looks, ["cat"])
    assert regions.shares == ((0.4,), (0.5,)) and regions.top == 0.5
    assert [(c.number, c.label) for c in regions.columns] == [(1, "cat")]
    assert words.shares == ((0.25,), (0.25,)) and "word's attention" in words.title
    assert grids_of(aligned, np.zeros(4, bool), looks, []) == ()


def test_content_words() -> None:
    assert [word for word in ("a", "dog", ",", "[SEP]", "the", "7", "to") if is_content(word)] == ["dog", "7"]
