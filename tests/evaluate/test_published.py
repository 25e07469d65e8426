"""The published figures: complete, plausible, chosen by protocol and setting; DemoVLP's as its authors gave them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError

from data_specs.spec import load_spec, spec_names
from evaluate.published.figures import (
    Row,
    TableFile,
    headline,
    pretraining_cost,
    published,
    published_table,
    tables,
)

ALL = [(table, row) for table in tables() for row in table.rows]
ALL_IDS = [f"{t.protocol}-{t.setting}-{i}-{r.method}" for i, (t, r) in enumerate(ALL)]
WANTED = {
    "JSFusion", "MEE", "CE", "MMT", "ActBERT", "SupportSet", "AVLNet", "TACo", "ClipBERT", "Frozen", "MDMMT", "HERO",
    "UniVL", "VIOLET", "VideoCLIP", "MERLOT", "Co-Mem", "HMEMA", "SSML", "HCRN", "DualVGR", "DemoVLP",
}  # fmt: skip


@pytest.mark.parametrize(("table", "row"), ALL, ids=ALL_IDS)
def test_every_row_can_be_traced_and_is_in_range(table, row) -> None:
    assert 2018 <= row.year <= 2022
    assert row.paper and row.found_in and row.source
    assert row.direction == "text-to-video"
    assert headline(table.task) in row.figures
    recalls = [row.figures[name] for name in ("R@1", "R@5", "R@10") if name in row.figures]
    assert all(1 < a < b < 100 for a, b in pairwise(recalls))
    assert 1 <= row.figures.get("MedR", 1) < 100
    assert 20 < row.figures.get("accuracy", 50) < 100
    assert table.task == "retrieval" or set(row.figures) == {"accuracy"}


@pytest.mark.parametrize("table", tables(), ids=lambda table: f"{table.protocol}-{table.setting}")
def test_every_table_is_of_a_protocol_that_we_report_for_its_task(table) -> None:
    dataset, name = table.protocol.split("/")
    assert dataset in spec_names()
    protocol = load_spec(dataset).protocols[name]
    assert protocol.reported and protocol.task == table.task
    assert len({(row.method, row.note) for row in table.rows}) == len(table.rows)


def test_every_reported_protocol_has_a_table() -> None:
    reported = {
        f"{name}/{key}"
        for name in spec_names()
        for key, protocol in load_spec(name).protocols.items()
        if protocol.reported
    }
    assert reported == {table.protocol for table in tables()}


def test_every_method_with_known_figures_is_there() -> None:
    assert {row.method for _, row in ALL} == WANTED


def test_what_is_not_checked_says_so() -> None:
    unchecked = [(table.protocol, row.method) for table, row in ALL if not row.checked]
    assert ("tgif/frameqa", "HCRN") in unchecked
    assert len(unchecked) < len(ALL) / 4


@pytest.mark.parametrize(
    ("task", "protocol", "setting", "figures"),
    [
        ("retrieval", "msrvtt/1k-A", "tuned", (36.0, 61.0, 71.8)),
        ("retrieval", "msrvtt/1k-A", "zero-shot", (24.0, 44.0, 52.6)),
        ("retrieval", "lsmdc/retrieval", "tuned", (25.2, 45.5, 54.5)),
        ("retrieval", "lsmdc/retrieval", "zero-shot", (14.3, 25.8, 32.0)),
        ("multiple-choice", "msrvtt/mc", "tuned", (92.4,)),
        ("question-answering", "msrvtt/qa", "tuned", (38.3,)),
        ("question-answering", "msvd/qa", "tuned", (39.5,)),
    ],
)
def test_demovlp_as_its_authors_gave_it(task: str, protocol: str, setting: str, figures: tuple[float, ...]) -> None:
    (row,) = [row for row in published(task, protocol, setting) if row.method == "DemoVLP"]
    assert tuple(row.figures.values()) == figures
    assert row.checked and row.source == "its own paper"


def test_the_cost_of_pretraining() -> None:
    cost = [(row.frames, row.data_percent, row.gpu_hours, row.recall_at_1) for row in pretraining_cost()]
    assert cost == [(4, 100, 1600, 36.3), (1, 100, 800, 36.0), (1, 50, 416, 36.4), (1, 20, 104, 34.6)]


def test_other_protocols_and_settings_get_nothing() -> None:
    assert published("retrieval", "msrvtt/1k-A", "tuned") != published("retrieval", "msrvtt/1k-A", "zero-shot")
    for asked in (
        ("retrieval", "msrvtt/full", "tuned"),
        ("retrieval", "msvd/first-caption", "tuned"),
        ("retrieval", "made-up", "tuned"),
        ("retrieval", "msrvtt/1k-A", "seen"),
        ("retrieval", "msrvtt/1k-A", "unknown"),
        ("multiple-choice", "msrvtt/1k-A", "tuned"),
    ):
        assert published(*asked) == ()
        assert published_table(*asked) is None


def test_figures_of_other_test_sets_stay_out() -> None:
    """MEE's MSR-VTT figures are on 1k-B, VideoCLIP's DiDeMo figures on single moments."""
    assert "MEE" not in {row.method for row in published("retrieval", "msrvtt/1k-A", "tuned")}
    assert "VideoCLIP" not in {row.method for row in published("retrieval", "didemo/paragraph", "zero-shot")}
    table = published_table("retrieval", "msrvtt/1k-A", "tuned")
    assert table is not None and "1k-B" in table.notes


@pytest.mark.parametrize(
    ("task", "figures", "said"),
    [
        ("retrieval", {"R@5": 20.0}, "needs R@1"),
        ("retrieval", {"R@1": 30.0, "R@5": 20.0}, "rising"),
        ("retrieval", {"R@1": 30.0, "accuracy": 40.0}, "needs R@1"),
        ("retrieval", {"R@1": 30.0, "R@5": 101.0}, "rising"),
        ("retrieval", {"R@1": 30.0, "MedR": 0.5}, "not a rank"),
        ("multiple-choice", {"R@1": 30.0}, "needs accuracy"),
        ("question-answering", {"accuracy": -1.0}, "greater than or equal to 0"),
        ("question-answering", {"precision": 1.0}, "accuracy"),
    ],
)
def test_a_wrong_row_is_refused(task: str, figures: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        row = Row.model_validate({"method": "X", "figures": figures, "found_in": "own", "checked": True})
        TableFile(task=task, protocol="a/b", setting="tuned", rows=(row,))
