"""The proof's machinery: what is done again and what is not, intervals, verdicts, and its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.proof.experiments import CURVES, VARIANTS
from pipelines.proof.findings import Figure
from pipelines.proof.journey import Journey
from pipelines.proof.layout import Layout
from pipelines.proof.scale import FULL, SMALL
from pipelines.proof.scheduler import Scheduler, WorkFailed, core_minutes, read_stamp
from pipelines.proof.work import Work
from tests.processes import alive_with


def shapes(at: Layout, name: str, after: tuple[Work, ...] = (), clips: int = 4) -> Work:
    """A quick real command: a few clips."""
    command = ("data_specs", "make-shapes", f"--split=train={clips}", "--families", "--out", str(at.out / name))
    return Work(name, command, at.out / name, after)


def test_what_is_done_is_not_done_again_and_new_inputs_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):  # with these it takes any stream for a terminal
        monkeypatch.delenv(name, raising=False)
    at = Layout(tmp_path)
    first = shapes(at, "a")
    manifest = ("data_specs", "build", "shapes", "--root", str(at.out / "a"), "--out", str(at.out / "m.parquet"))
    works = [first, Work("m", manifest, at.out / "m.parquet", (first,))]
    assert Scheduler(at, 2).run(works) == 2
    assert re.findall(r"^(\d)/2 (\w) \(\d+ s\)$", capsys.readouterr().err, re.M) == [("1", "a"), ("2", "m")]
    stamp = read_stamp(at, first)
    assert stamp is not None and stamp.done and stamp.seconds > 0
    assert core_minutes(at, works[:1]) == {"data_specs": stamp.seconds / 60}
    assert core_minutes(at, works)["data_specs"] > stamp.seconds / 60
    assert Scheduler(at, 2).run(works) == 0
    (at.out / "m.parquet").unlink()
    assert Scheduler(at, 2).run(works) == 1
    more = shapes(at, "a", clips=8)
    assert Scheduler(at, 2).run([more, Work("m", manifest, at.out / "m.parquet", (more,))]) == 2
    assert len(list((at.out / "a/videos").iterdir())) == 8


def test_new_code_makes_results_old_unless_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.proof import work as module

    at = Layout(tmp_path)
    work, more = shapes(at, "a"), shapes(at, "a", clips=8)
    assert Scheduler(at, 2).run([work]) == 1
    module._key.cache_clear()
    monkeypatch.setattr(module, "_source", lambda package: "other code")
    try:
        assert Scheduler(at, 2, with_code=False).run([work]) == 0
        assert Scheduler(at, 2).run([work]) == 1
        assert Scheduler(at, 2, with_code=False).run([more]) == 1
        assert Scheduler(at, 2, with_code=False).run([more]) == 0
        assert Scheduler(at, 2).run([more]) == 1  # it may have been made of what other code made
    finally:
        module._key.cache_clear()


def test_a_broken_record_is_none(tmp_path: Path) -> None:
    at = Layout(tmp_path)
    work = shapes(at, "a")
    assert Scheduler(at, 2).run([work]) == 1
    at.stamp("a").write_text("{")
    assert read_stamp(at, work) is None and Scheduler(at, 2).run([work]) == 1


def test_a_failure_says_what_was_said_and_the_rest_stays(tmp_path: Path) -> None:
    at = Layout(tmp_path)
    good = shapes(at, "a")
    bad = Work("bad", ("data_specs", "build", "shapes", "--root", "nowhere", "--out", "x"), at.out / "x", (good,))
    with pytest.raises(WorkFailed, match=r"bad ended with exit code 2(.|\n)*Error") as failed:
        Scheduler(at, 2).run([good, bad])
    assert failed.value.exit_code == 1
    assert Scheduler(at, 2).is_done(good) and not Scheduler(at, 2).is_done(bad)


def test_what_runs_is_stopped_with_the_proof(tmp_path: Path) -> None:
    """On SIGTERM; Ctrl-C is the same."""
    environment = os.environ | {"REGIONVLP_TEST": str(tmp_path)}
    command = [sys.executable, "-m", "pipelines", "proof", "--scale", "small", "--out", str(tmp_path / "proof")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as proof:
        while not list((tmp_path / "proof").rglob("*.mp4")) and proof.poll() is None:
            time.sleep(0.05)
        proof.terminate()
        _, said = proof.communicate(timeout=120)
    assert proof.returncode == 130 and "the same command goes on" in said
    assert alive_with("REGIONVLP_TEST", str(tmp_path)) == []
    stamp = json.loads((tmp_path / "proof/done/data.json").read_bytes())
    assert not stamp["done"] and stamp["seconds"] > 0


def test_every_point_of_a_curve_is_run() -> None:
    names = {variant.name: variant for variant in VARIANTS}
    for curve in CURVES:
        points = [point.variant for line in curve.lines.values() for point in line]
        assert {*points, curve.better, curve.worse} <= names.keys() and {curve.better, curve.worse} <= {*points}
        assert curve.stage == "pretrain" or all(names[point].tuned for point in points)
    works = Journey(FULL, Layout(Path("/proof")), 2).works()
    for curve in CURVES:
        for point in (point for line in curve.lines.values() for point in line):
            for seed in FULL.seeds:
                assert f"retrieval-{curve.stage}-{point.variant}-{seed}" in {work.name for work in works}


@pytest.mark.parametrize("scale", [FULL, SMALL])
def test_works_come_after_what_they_need_and_own_their_results(scale) -> None:
    works = Journey(scale, Layout(Path("/proof")), 2).works()
    seen: set[str] = set()
    for work in works:
        assert {before.name for before in work.after} <= seen
        seen.add(work.name)
    assert len({work.out for work in works}) == len(works) == len(seen)


def test_other_seeds_are_of_the_models_alone() -> None:
    first, other = (Journey(scale, Layout(Path("/proof")), 2).works() for scale in (FULL, FULL.with_seeds_from(3)))
    named = [{work.name: work.command for work in works if work.config is None} for works in (first, other)]
    assert FULL.with_seeds_from(3).seeds == (3, 4, 5) and FULL.with_seeds_from(0) == FULL
    assert named[0]["data"] == named[1]["data"] and named[0]["shards"] == named[1]["shards"]
    seeds = [{work.config["seed"] for work in works if work.config is not None} for works in (first, other)]
    assert seeds == [{0, 1, 2}, {3, 4, 5}]


def test_intervals_are_students() -> None:
    found = Figure.of([1.0, 2.0, 3.0])
    assert (found.mean, round(found.low, 3), round(found.high, 3)) == (2.0, -0.484, 4.484)
    assert Figure.of([5.0]).low == 5.0
    assert Figure.of([10.0, 10.1, 10.2]).above(Figure.of([9.0, 9.1, 9.2]))
    assert not Figure.of([10.0, 12.0]).above(Figure.of([9.0, 9.1]))
