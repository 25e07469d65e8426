"""The pages of multiple choice and open-ended questions, and the PNG beside each page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.manifest import Question
from evaluate.drawing.beside import Beside, Line
from evaluate.drawing.paper.multiple_choice import multiple_choice_png
from evaluate.drawing.paper.retrieval import retrieval_png
from evaluate.reports.multiple_choice import standings
from evaluate.reports.question_answering import choose_questions, confusion_rows
from evaluate.result import Confusion
from tests.evaluate import reports
from tests.evaluate.looking import Page

EVIL = "<img src=x onerror=alert(1)> moves"


@pytest.fixture
def world(make_world):
    return make_world(questions=reports.ASKED)


def test_multiple_choice_marks_the_right_and_the_chosen_option(world, tmp_path: Path) -> None:
    path, found = reports.multiple_choice_page(tmp_path, world, frames=1)
    page = Page(path.read_text(encoding="utf-8"))
    assert "56.7 %" in page.text and "32.3 %" in page.text and "5 questions" in page.text
    options = [q.options for q in found.plan.questions]
    assert len(page.having("b", "marks")) == sum(map(len, options))
    assert all(option in page.text for option in sum(options, ()))
    # of five questions: right, tied of two, wrong, tied of three, right
    assert page.text.count("✓▶") == 4 and page.text.count("▶") - page.text.count("▶ this run") == 1 + 2 + 1 + 3 + 1 + 1
    assert page.text.count("✗ preferred to it") == 1 and page.text.count("✓ the right option") == 5
    assert [page.text.count(badge) for badge in ("✓ right ", "≈ tied", "✗ wrong")] == [2, 2, 1]


def test_standings_by_hand() -> None:
    places, margins = standings([np.array([0.5, 0.9, 0.5]), np.array([0.1]), np.array([2.0, 1.0])], [0, 0, 0])
    assert places.tolist() == [2.5, 1.0, 1.0]
    assert margins.tolist() == [pytest.approx(-0.4), np.inf, 1.0]


def test_question_answering_shows_groups_confusion_and_probabilities(world, tmp_path: Path) -> None:
    path, found = reports.question_answering_page(tmp_path, world, frames=1)
    page, result = Page(path.read_text(encoding="utf-8")), found.result
    assert f"{result.accuracy:.1f} %" in page.text and f"{result.covered} of {result.questions}" in page.text
    assert f"always “{result.majority_answer}”" in page.text
    for group in (*result.by_answer_type, *result.by_question_word):
        assert group.name in page.text and f"{group.accuracy:.1f}" in page.text
    assert len(page.having("td", "same")) == len(result.confusion.answers)
    assert "not in the vocabulary" in page.text  # "two"
    wrong = [q for q in range(len(found.plan.questions)) if not found.correct_Q[q]]
    assert any(f"▶ {found.predicted[q]} given" in page.text for q in wrong)


def test_chosen_questions_are_of_their_kind(world, tmp_path: Path) -> None:
    _, found = reports.question_answering_page(tmp_path, world, frames=1)
    chosen = choose_questions(found)
    assert all(found.correct_Q[q] == 1 for kind, q in chosen if kind == "right")
    assert all(found.correct_Q[q] == 0 for kind, q in chosen if kind == "wrong")
    assert len({q for _, q in chosen}) == len(chosen)
    for kind in ("right", "wrong", "unsure"):
        owners = [int(found.plan.owner_Q[q]) for name, q in chosen if name == kind]
        assert len(set(owners)) == len(owners) <= 3


def test_confusion_rows_share_out_their_questions() -> None:
    (row, empty) = confusion_rows(Confusion(answers=("a", "b"), counts=((3, 1, 0), (0, 0, 0))))
    assert (row.questions, row.cells) == (4, ((3, 0.75), (1, 0.25), (0, 0.0)))
    assert (empty.questions, empty.cells) == (0, ((0, 0.0),) * 3)


def test_words_of_others_are_escaped_on_both_pages(make_world, tmp_path: Path) -> None:
    asked = {
        "globe": (
            Question(EVIL, EVIL, "multiple_choice", (EVIL, "the globe moves"), 0, "g"),
            Question(EVIL, EVIL, "<b>kind</b>", key="h"),
        ),
    }
    world = make_world(questions=asked)
    for make in (reports.multiple_choice_page, reports.question_answering_page):
        path, _ = make(tmp_path, world, frames=1, note="<i>note</i>")
        text = path.read_text(encoding="utf-8")
        assert "<img" not in text and "<i>note" not in text and "<b>kind" not in text
        assert EVIL in Page(text).text


def test_words_of_others_are_no_formulas(make_world, tmp_path: Path) -> None:
    formula, long = r"$\nothing$", "$5 or $10, " * 40
    asked = {"globe": (Question("what", formula, formula, key="g"), Question("what", long, long, key="h"))}
    path, found = reports.question_answering_page(tmp_path, make_world(questions=asked), frames=1)
    assert set(found.result.confusion.answers) == {formula, long}
    assert path.with_suffix(".png").stat().st_size > 10_000


def test_pages_say_how_many_are_missing(make_world, tmp_path: Path) -> None:
    world = make_world(questions=reports.ASKED, absent=["jug"])
    for make, planned in ((reports.multiple_choice_page, 3), (reports.question_answering_page, 3)):
        path, found = make(tmp_path, world, frames=1, allow_missing=True)
        text = path.read_text(encoding="utf-8")
        assert found.result.videos_planned == planned
        for part in text.split("<h2")[1:]:
            assert f"{planned - 1}/{planned} videos" in part.split("</h2>")[0]
        for part in text.split("<caption")[1:]:
            assert f"{planned - 1}/{planned} videos" in part.split("</caption>")[0]


def test_pictures_stand_beside_the_pages_and_depend_on_the_result_alone(world, tmp_path: Path) -> None:
    for make in (reports.retrieval_page, reports.multiple_choice_page, reports.question_answering_page):
        path, _ = make(tmp_path, world, frames=1)
        first = path.with_suffix(".png").read_bytes()
        make(tmp_path, world, frames=1)
        assert path.with_suffix(".png").read_bytes() == first
        image = Image.open(io.BytesIO(first))
        assert image.width == 1600 and image.height > 300 and len(np.unique(np.asarray(image.convert("L")))) > 20
        assert b"Software" not in first and b"tIME" not in first


def test_pictures_show_published_figures_and_what_is_missing(world, tmp_path: Path) -> None:
    _, retrieved = reports.retrieval_page(tmp_path, world, frames=1)
    _, chosen = reports.multiple_choice_page(tmp_path, world, frames=1)
    lines = (
        Line("this run", None, {"R@1": 50.0}, ours=True, interval=(40.0, 60.0)),
        Line("other", 2021, {"R@1": 30.0}, checked=False),
    )
    among, none = Beside("R@1", ("R@1",), lines), Beside("R@1", (), (), why_not="of another protocol")
    drawn = [retrieval_png(retrieved, beside, partial) for beside in (among, none) for partial in ("", "3/4 videos")]
    drawn += [multiple_choice_png(chosen.result, beside, "") for beside in (among, none)]
    assert len(set(drawn)) == 6
