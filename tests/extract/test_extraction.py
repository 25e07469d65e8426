"""Whole extractions: contract, hostile files, resumption, and the same bytes on every way."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.manifest import Manifest, read_manifest
from data_specs.media import Limits, run_tool, stop_tools
from data_specs.shard_index import build_index, read_index
from data_specs.shards import ShardError, iterate_shard, records
from extract.ahead import ahead
from extract.coverage import measure_coverage
from extract.plan import Plan
from extract.settings import provenance
from extract.verify import verify
from extract.worker import Worker
from tests.extract.runs import HOSTILE, bytes_of, extract, settings_for


def verified(folder: Path) -> tuple[str, ...]:
    return tuple(map(str, verify(folder, 1, lambda: None).problems))


def test_shards_hold_the_manifest(ten_shards: Path, ten_manifest: Manifest) -> None:
    samples = {s.id: s for record in records(ten_shards) for s in iterate_shard(ten_shards / record.shard)}
    assert sorted(samples) == sorted(item.id for item in ten_manifest)
    for item in ten_manifest:
        sample = samples[item.id]
        assert (sample.captions, sample.questions, sample.split) == (item.captions, item.questions, item.split)
        assert sample.regions.features.shape == (2, 30, 512)
        assert sample.frame_size == (144, 192)
        assert sample.timestamps == pytest.approx((0.7, 2.2), abs=0.05)
    assert read_index(ten_shards).num_samples == 10
    assert verified(ten_shards) == ()
    assert not [name for name in bytes_of(ten_shards) if name.endswith(".partial")]


def test_again_gives_the_same_bytes(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    extract(ten_manifest_path, settings_for(ten_videos, tmp_path / "again"))
    assert bytes_of(tmp_path / "again") == bytes_of(ten_shards)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_gives_the_same_bytes(ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path) -> None:
    extract(ten_manifest_path, settings_for(ten_videos, tmp_path / "ray"), workers=2)
    assert bytes_of(tmp_path / "ray") == bytes_of(ten_shards)


def test_rerun_skips_what_is_committed(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(ten_shards, folder)
    untouched, removed, halved = sorted(folder.glob("*.tar"))
    removed.with_suffix(".json").unlink()  # as if the run had died between the tar and its record
    halved.write_bytes(halved.read_bytes()[:1000])
    before = untouched.stat().st_mtime_ns
    outcome = extract(ten_manifest_path, settings_for(ten_videos, folder))
    assert outcome.skipped == 1
    assert untouched.stat().st_mtime_ns == before
    assert bytes_of(folder) == bytes_of(ten_shards)


def test_five_files_that_are_no_videos(hostile: tuple[Path, Path], ten_shards: Path, tmp_path: Path) -> None:
    root, manifest = hostile
    folder = tmp_path / "shards"
    outcome = extract(manifest, settings_for(root, folder))
    assert outcome.failures == len(HOSTILE)
    failures = {f.id: f.reason.value for record in records(folder) for f in record.failures}
    assert failures == {identifier: reason for identifier, (_, reason) in HOSTILE.items()}
    assert verified(folder) == ()
    extract(manifest, settings_for(root, tmp_path / "again"))
    assert bytes_of(tmp_path / "again") == bytes_of(folder)
    with_bad = {s.id: s for record in records(folder) for s in iterate_shard(folder / record.shard)}
    without = {s.id: s for record in records(ten_shards) for s in iterate_shard(ten_shards / record.shard)}
    assert sorted(with_bad) == sorted(without)
    for identifier, sample in without.items():
        for name, array in sample.regions.arrays().items():
            assert array.tobytes() == with_bad[identifier].regions.arrays()[name].tobytes()
        assert with_bad[identifier].timestamps == sample.timestamps
    found = measure_coverage(folder, read_manifest(manifest))
    assert not found.complete
    assert found.splits["train"].reasons == dict.fromkeys(failures.values(), 1)
    assert {f.id for f in found.failures} == set(HOSTILE)


def test_folder_of_another_run_is_refused(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(ten_shards, folder)
    before = bytes_of(folder)
    with pytest.raises(InputError, match=r"regions: 30 and 20"):
        extract(ten_manifest_path, settings_for(ten_videos, folder, regions=20))
    with pytest.raises(InputError, match="another plan"):
        extract(ten_manifest_path, settings_for(ten_videos, folder), per_shard=5)
    with pytest.raises(InputError, match="not in this plan"):
        extract(ten_manifest_path, settings_for(ten_videos, folder), per_shard=10)
    assert bytes_of(folder) == before


KILLED_AT = {  # the n-th call of the function, in a run of three shards
    "in the middle of a tar": ("data_specs.shards.encode_sample", 6),
    "before the first tar has its name": ("os.replace", 1),
    "between a tar and its record": ("os.replace", 3),
    "between the last record and the index": ("os.replace", 8),
}
KILL = """
import os, signal, sys
import data_specs.shards
from extract.__main__ import main
module, _, name = sys.argv[1].rpartition(".")
holder, left = sys.modules[module], [int(sys.argv[2])]
original = getattr(holder, name)
def counted(*arguments, **options):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(holder, name, counted)
main(sys.argv[3:])
"""


@pytest.mark.parametrize("moment", KILLED_AT)
def test_sigkill_then_rerun_gives_the_same_bytes(
    moment: str, ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    function, call = KILLED_AT[moment]
    command = [sys.executable, "-c", KILL, function, str(call), "run", "--manifest", str(ten_manifest_path)]
    command += ["--root", str(ten_videos), "--out", str(folder), "--frames", "2", "--videos-per-shard", "4"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert bytes_of(folder) != bytes_of(ten_shards)
    assert not (folder / "index.json").exists()
    extract(ten_manifest_path, settings_for(ten_videos, folder))
    assert bytes_of(folder) == bytes_of(ten_shards)


@pytest.mark.ray
def test_a_killed_ray_worker_is_replaced(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    """The command line with its own cluster; one of its two workers is SIGKILLed while it makes a shard."""
    folder, mark = tmp_path / "shards", f"REGIONVLP_TEST={tmp_path}"
    command = [sys.executable, "-m", "extract", "run", "--manifest", str(ten_manifest_path), "--root", str(ten_videos)]
    command += ["--out", str(folder), "--frames", "2", "--videos-per-shard", "4", "--workers", "2"]
    name, _, value = mark.partition("=")
    driver = subprocess.Popen(command, env={**os.environ, name: value}, stderr=subprocess.PIPE, text=True)
    victim = _wait_for_worker(mark.encode(), folder, driver)
    os.kill(victim, signal.SIGKILL)
    _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 0, stderr
    assert "its worker died, attempt 2 of 10" in stderr
    assert bytes_of(folder) == bytes_of(ten_shards)


def _wait_for_worker(mark: bytes, folder: Path, driver: subprocess.Popen) -> int:
    deadline = time.monotonic() + 240
    while driver.poll() is None and time.monotonic() < deadline:
        at_work = folder.is_dir() and any(".tar." in path.name for path in folder.iterdir())
        for process in Path("/proc").glob("[0-9]*") if at_work else ():
            try:
                title, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            if title.startswith(b"ray::ShardActor.extract") and mark in environment.split(b"\0"):
                return int(process.name)
        time.sleep(0.01)
    driver.kill()
    pytest.fail(f"no worker was seen at work; the driver said: {driver.communicate()[1]}")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_more_workers_than_the_cluster_has_room_for(ten_videos: Path, ten_manifest_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 workers of 1 CPU .* use fewer --workers"):
        extract(ten_manifest_path, settings_for(ten_videos, tmp_path / "s"), workers=3)


def test_two_extractions_into_one_folder(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another extraction is at work"):
            extract(ten_manifest_path, settings_for(ten_videos, folder))
    extract(ten_manifest_path, settings_for(ten_videos, folder))
    assert bytes_of(folder) == bytes_of(ten_shards)


def test_other_json_files_are_no_records(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(ten_shards, folder)
    (folder / "coverage.json").write_text("{}")
    assert extract(ten_manifest_path, settings_for(ten_videos, folder)).skipped == 3


def test_verify_finds_every_fault(ten_shards: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(ten_shards, tmp_path / name)
        return tmp_path / name

    flipped = broken("flipped")
    tar = flipped / "test-00000.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert "SHA-256" in "".join(verified(flipped))
    unrecorded = broken("unrecorded")
    (unrecorded / "test-00000.json").unlink()
    assert any("no valid commit record" in line for line in verified(unrecorded))
    assert any("does not list" in line for line in verified(unrecorded))
    absent = broken("absent")
    (absent / "test-00000.tar").unlink()
    assert any("absent" in line for line in verified(absent))
    unlisted = broken("unlisted")
    build_index(unlisted, records(unlisted)[:1])
    assert any("does not list" in line for line in verified(unlisted))


def test_a_worker_looks_whether_its_node_can_do_it(ten_videos: Path, ten_manifest_path: Path, tmp_path: Path) -> None:
    items = read_manifest(ten_manifest_path)
    settings = settings_for(ten_videos, tmp_path / "s")
    made_with = provenance(settings, items, ten_manifest_path)
    Worker(settings).check(made_with)
    for change, said in (({"ffmpeg": "0.1"}, "not 0.1"), ({"weights_sha256": "0" * 64}, "weights")):
        with pytest.raises(InputError, match=said):
            Worker(settings).check(made_with.model_copy(update=change))
    elsewhere = settings.model_copy(update={"root": tmp_path / "not mounted"})
    with pytest.raises(InputError, match="is it mounted there"):
        Worker(elsewhere).check(made_with)
    shard = next(iter(Plan(items, None, 4)))
    with pytest.raises(InputError, match="is gone from"):
        Worker(elsewhere).extract(shard, made_with)
    assert not list((tmp_path / "s").iterdir())


def test_shards_that_were_made_and_are_not_there_are_missed(
    ten_videos: Path, ten_manifest_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a node writes to a disk of its own under the same name."""
    out = tmp_path / "s"
    monkeypatch.setattr("extract.driver.write_labels", lambda *_: (out / "train-00001.json").unlink())
    with pytest.raises(ShardError, match=r"1 shards, train-00001 among them, were made and are not there"):
        extract(ten_manifest_path, settings_for(ten_videos, out))


def test_another_plan_is_refused_before_anything_is_made(
    ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(ten_shards, folder)
    (folder / "train-00000.json").unlink()
    before = bytes_of(folder)
    with pytest.raises(InputError, match="another plan"):
        extract(ten_manifest_path, settings_for(ten_videos, folder), per_shard=3)
    assert bytes_of(folder) == before
    extract(ten_manifest_path, settings_for(ten_videos, folder))
    assert bytes_of(folder) == bytes_of(ten_shards)


def test_ctrl_c_ends_a_tool_that_is_under_way(tmp_path: Path) -> None:
    """Nobody waits until the tool has used up its time."""
    began = threading.Event()

    def hang(_: int) -> None:
        began.set()
        run_tool([sys.executable, "-c", "import time; time.sleep(600)"], Limits(wall_s=600.0))

    clips = ahead(iter([1, 2]), lambda n: hang(n) if n == 2 else n, threads=2, most=2, stop=stop_tools)
    assert next(clips) == (1, 1)
    assert began.wait(60)
    started = time.monotonic()
    clips.close()
    assert time.monotonic() - started < 300
