"""Whole extractions: contract, hostile files, resumption, and the same bytes on every way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.manifest import Manifest, read_manifest
from data_specs.shard_index import build_index, read_index
from data_specs.shards import iterate_shard, records
from extract.coverage import measure_coverage
from extract.verify import verify
from tests.extract.runs import HOSTILE, bytes_of, extract, settings_for


def verified(folder: Path) -> tuple[str, ...]:
    return verify(folder, 1, lambda: None).problems


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
    failures = {f.id: f.reason.value for record in outcome.planned for f in record.failures}
    assert failures == {identifier: reason for identifier, (_, reason) in HOSTILE.items()}
    assert verified(folder) == ()
    with_bad = {s.id: s for record in records(folder) for s in iterate_shard(folder / record.shard)}
    without = {s.id: s for record in records(ten_shards) for s in iterate_shard(ten_shards / record.shard)}
    assert sorted(with_bad) == sorted(without)
    for identifier, sample in without.items():
        for name, array in sample.regions.arrays().items():
            assert array.tobytes() == with_bad[identifier].regions.arrays()[name].tobytes()
        assert with_bad[identifier].timestamps == sample.timestamps
    found = measure_coverage(folder, records(folder), read_manifest(manifest))
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


@pytest.mark.parametrize("moment", ["before the first tar", "while tars are written", "before the index"])
def test_sigkill_then_rerun_gives_the_same_bytes(
    moment: str, ten_shards: Path, ten_videos: Path, ten_manifest_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    command = [sys.executable, "-m", "extract", "run", "--manifest", str(ten_manifest_path), "--root", str(ten_videos)]
    command += ["--out", str(folder), "--frames", "2", "--videos-per-shard", "4"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait_for(moment, folder, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (folder / "index.json").exists()
    rerun = subprocess.run(command, capture_output=True, text=True)
    assert rerun.returncode == 0, rerun.stderr
    assert bytes_of(folder) == bytes_of(ten_shards)


def _wait_for(moment: str, folder: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        partial = {name for name in names if name.endswith(".partial")}
        records_there = {name for name in names if name.endswith(".json")}
        if moment == "before the first tar" and any("train-00000.tar" in name for name in partial):
            return
        if moment == "while tars are written" and records_there and any(".tar." in name for name in partial):
            return
        if moment == "before the index" and len(records_there) == 2 and any("test-00000.tar" in n for n in partial):
            return


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
