"""Rounds of retries: only what failed, into shards beside the good ones, to the same bytes whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_specs.failures import Reason
from data_specs.manifest import read_manifest
from data_specs.shards import iterate_keys, iterate_shard, read_record, record_path
from evaluate.stored import read_stored
from extract.__main__ import main
from extract.coverage import measure_coverage
from extract.retry import WORTH_IT, parse_reasons
from extract.retry_round import RetryPlan, read_round
from extract.safety.folder_lock import alone_in
from extract.verify import verify
from tests.extract import made
from tests.extract.runs import HOSTILE, bytes_of, extract, settings_for
from train.config import DataConfig
from train.stream import open_shards

Where = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def first_run(hostile: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the ten videos and the five files that are none, one frame each."""
    root, manifest = hostile
    out = tmp_path_factory.mktemp("retry") / "shards"
    extract(manifest, settings_for(root, out, frames=1))
    return out


@pytest.fixture
def where(first_run: Path, hostile: tuple[Path, Path], tmp_path: Path) -> Where:
    """A media root, manifest and folder of shards of one's own."""
    root, manifest = hostile
    shutil.copytree(root, tmp_path / "root")
    shutil.copytree(first_run, tmp_path / "shards")
    return tmp_path / "root", manifest, tmp_path / "shards"


def retry(where: Where, *more: object) -> Result:
    root, manifest, folder = where
    arguments = ["retry", folder, "--manifest", manifest, "--root", root, "--videos-per-shard", 2, *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def repair(root: Path, *names: str) -> None:
    """Puts a whole video where a bad file stood."""
    for name in names:
        shutil.copyfile(root / "videos" / "all" / "video0.mp4", root / HOSTILE[name][0])


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("*-0*") if "-r" not in p.name}


def test_only_what_failed_and_nothing_else_is_touched(where: Where) -> None:
    root, manifest, folder = where
    repair(root, "cut", "absent", "empty")
    before = stamps(folder)
    result = retry(where, "--reasons", "missing,truncated,empty,no_video_stream")
    assert result.exit_code == 1, result.output
    assert "round 1: 4 items tried again, 1 failed again" in result.output
    assert stamps(folder) == before
    ids = [list(iterate_keys(folder / f"train-r1-0000{n}.tar")) for n in range(2)]
    assert ids == [["empty", "cut"], ["absent"]]  # audio failed again
    assert read_record(record_path(folder, "train-r1-00001")).failures[0].id == "audio"
    found = measure_coverage(folder, read_manifest(manifest))
    assert {f.id: f.reason.value for f in found.failures} == {"text": "not_media", "audio": "no_video_stream"}
    assert verify(folder, 1, lambda: None).problems == ()
    result = retry(where, "--reasons", "all")
    assert "round 2: 2 items tried again, 2 failed again" in result.output
    assert stamps(folder) == before


def test_what_was_made_good_equals_a_first_run_of_it(where: Where, tmp_path: Path) -> None:
    root, manifest, folder = where
    repair(root, "cut", "absent", "empty", "text", "audio")
    assert retry(where, "--reasons", "all").exit_code == 0
    extract(manifest, settings_for(root, tmp_path / "fresh", frames=1))

    def members(out: Path) -> dict[str, bytes]:
        return {
            sample.id: sample.regions.features.tobytes() + sample.regions.boxes.tobytes()
            for path in out.glob("*.tar")
            for sample in iterate_shard(path)
        }

    assert members(folder) == members(tmp_path / "fresh")
    assert retry(where, "--reasons", "all").output.endswith("nothing to retry\n")
    assert not (folder / "retry-2.json").exists()


def test_nothing_of_these_reasons(where: Where) -> None:
    result = retry(where)
    assert (result.exit_code, result.output) == (0, f"{where[2]}: nothing to retry\n")
    assert not list(where[2].glob("retry-*"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--reasons", "timeot"], "--reasons timeot: did you mean timeout?"),
        (["--reasons", ","], "--reasons is empty"),
        (["--set", "regions=20"], "a retry keeps what the features depend on, and this one would differ (regions: 30"),
        (["--set", "limits.wall=3"], "unknown key 'limits.wall'"),
    ],
)
def test_wrong_options_give_one_line_and_exit_code_2(where: Where, more: list[str], message: str) -> None:
    before = bytes_of(where[2])
    result = retry(where, *more)
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert bytes_of(where[2]) == before


def test_another_manifest_or_an_unfinished_run_is_refused(where: Where, ten_manifest_path: Path) -> None:
    root, _, folder = where
    result = retry((root, ten_manifest_path, folder), "--reasons", "all")
    assert (result.exit_code, "manifest_sha256" in result.output) == (2, True)
    (folder / "config.yaml").unlink()
    result = retry(where, "--reasons", "all")
    assert (result.exit_code, "finish the extraction first" in result.output) == (2, True)


KILL = """
import os, signal, sys
from extract.__main__ import main
left, original = [int(sys.argv[1])], os.replace
def counted(*arguments, **options):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
os.replace = counted
main(sys.argv[2:])
"""


# Calls of os.replace: the round, then tar and record of each shard, labels, configuration and index.
@pytest.mark.parametrize(("moment", "committed"), [(4, 1), (7, 2)], ids=["in the second shard", "before the index"])
def test_sigkill_then_the_same_command_gives_the_same_bytes(
    moment: int, committed: int, where: Where, tmp_path: Path
) -> None:
    root, manifest, folder = where
    repair(root, "cut", "absent")
    shutil.copytree(folder, tmp_path / "calm")
    options = ["--reasons", "missing,truncated,empty", "--set", "limits.wall_s=59"]
    assert retry((root, manifest, tmp_path / "calm"), *options).exit_code == 1
    arguments = ["retry", folder, "--manifest", manifest, "--root", root, "--videos-per-shard", 2, *options]
    command = [sys.executable, "-c", KILL, str(moment), *map(str, arguments)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(folder.glob("train-r1-*.json"))) == committed
    assert "train-r1" not in (folder / "index.json").read_text()
    result = retry(where, "--reasons", "no_video_stream")
    assert result.exit_code == 2
    assert "round 1 is not finished; finish it first: python -m extract retry ... --reasons" in result.output
    assert "--set limits.wall_s=59" in result.output
    result = retry(where)  # what the round was planned with stands in its file
    assert "round 1: 3 items tried again, 1 failed again" in result.output
    assert bytes_of(folder) == bytes_of(tmp_path / "calm")


def test_one_writer_a_folder(where: Where) -> None:
    with alone_in(where[2]):
        result = retry(where, "--reasons", "all")
    assert (result.exit_code, "another extraction is at work" in result.output) == (2, True)
    assert not list(where[2].glob("retry-*"))


def test_a_plan_of_several_splits(where: Where) -> None:
    _, manifest, folder = where
    items = read_manifest(manifest)
    ids = [item.id for item in items if item.id in {"video0", "video7", "cut", "video9", "text"}]
    path = folder / "retry-7.json"
    told = {"round": 7, "reasons": ["timeout"], "assignments": [], "videos_per_shard": 2, "manifest_sha256": "x"}
    path.write_text(json.dumps(told | {"ids": ids}))
    plan = RetryPlan(items, read_round(folder, 7))
    assert plan.num_items == 5 and len(plan) == len(plan.names) == 3
    assert plan.names == ["train-r7-00000", "train-r7-00001", "test-r7-00000"]
    planned = [item.id for shard in plan for item in shard.items]
    assert sorted(planned) == sorted(ids)
    assert [item.id for shard in plan for item in shard.items if item.split == "train"] == [
        item.id for item in items if item.id in ids and item.split == "train"
    ]


def test_training_and_evaluation_read_what_was_made_good(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    made.shard(folder, "train-00000", ["a"], [("b", "timeout")])
    made.shard(folder, "train-r1-00000", ["b"])
    made.index(folder)
    width, shards = open_shards(DataConfig(shards=(folder,), splits=("train",)))
    assert (width, [shard.path.name for shard in shards]) == (made.WIDTH, ["train-00000.tar", "train-r1-00000.tar"])
    assert sorted(sample.id for sample in read_stored(folder).samples(frozenset("ab"))) == ["a", "b"]


def test_reasons() -> None:
    assert parse_reasons(None) == WORTH_IT == (Reason.TIMEOUT, Reason.KILLED_WORKER, Reason.DECODE_ERROR)
    assert parse_reasons("killed_worker, timeout") == (Reason.TIMEOUT, Reason.KILLED_WORKER)
    assert parse_reasons("all") == tuple(Reason)


def test_a_broken_round_is_one_line(where: Where) -> None:
    (where[2] / "retry-1.json").write_text("{}")
    result = retry(where, "--reasons", "all")
    assert (result.exit_code, "retry-1.json: not a round of retries" in result.output) == (2, True)
