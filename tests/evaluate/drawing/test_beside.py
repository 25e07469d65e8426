"""Beside which published figures a result may stand, and why not."""

from __future__ import annotations

import pytest

from evaluate.drawing.beside import OURS, beside
from evaluate.published.figures import published
from evaluate.result import MultipleChoiceResult, RetrievalResult
from tests.evaluate.test_compare import common, direction

FIGURES = {"R@1": 33.0, "R@5": 60.0, "R@10": 70.0, "MedR": 3.0, "MeanR": 9.0, "GeoMean": 50.0}


def retrieval(videos: int = 1000, planned: int = 1000, rule: str = "first", **changed: object) -> RetrievalResult:
    way = direction(33.0, videos, planned)
    return RetrievalResult(
        **common(8, 30, videos, planned, **changed), queries_rule=rule, text_to_video=way, video_to_text=way
    )


def test_ours_stands_among_those_of_the_same_protocol() -> None:
    found = beside(retrieval(), FIGURES, (30.0, 36.0))
    rows = published("retrieval", "msrvtt/1k-A", "tuned")
    assert len(found.lines) == len(rows) + 1 and not found.why_not
    firsts = [line.figures["R@1"] for line in found.lines]
    assert firsts == sorted(firsts, reverse=True)
    (ours,) = [line for line in found.lines if line.ours]
    assert (ours.method, ours.interval) == (OURS, (30.0, 36.0))
    assert found.columns == ("R@1", "R@5", "R@10", "MedR") and set(ours.figures) == set(found.columns)
    assert found.unchecked == any(not row.checked for row in rows)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"setting": "seen"}, "'seen'"),
        ({"setting": "unknown"}, "'unknown'"),
        ({"splits": ("val",)}, "this is val"),
        ({"protocol": "made-up/all"}, "no figures of papers are known here for made-up/all"),
        ({"planned": 10, "videos": 10}, "the full protocol has 1000 videos, and the manifest of this result 10"),
        ({"rule": "all"}, "queries are 'first'"),
    ],
)
def test_nothing_stands_beside_another_protocol(changed: dict[str, object], why: str) -> None:
    found = beside(retrieval(**changed), FIGURES, (30.0, 36.0))
    assert not found.lines and why in found.why_not


def test_a_result_with_missing_videos_stays_of_its_protocol() -> None:
    assert beside(retrieval(992, 1000), FIGURES, (30.0, 36.0)).lines


def test_multiple_choice_counts_questions() -> None:
    def result(questions: int) -> MultipleChoiceResult:
        return MultipleChoiceResult(
            **common(8, 30, 2990, 2990, protocol="msrvtt/mc"), accuracy=91.0, accuracy_interval=(90.0, 92.0),
            optimistic=91.0, chance=20.0, questions=questions, questions_planned=questions, options={5: questions},
        )  # fmt: skip

    assert beside(result(2990), {"accuracy": 91.0}, (90.0, 92.0)).lines
    assert "2990 questions" in beside(result(10), {"accuracy": 91.0}, (90.0, 92.0)).why_not
