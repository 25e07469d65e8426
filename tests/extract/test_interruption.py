"""Stopped by the user, by a scheduler, by a full disk: what is committed stays, nothing else does, and it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_specs.location import location
from extract.__main__ import main
from tests.extract.runs import bytes_of, extract, settings_for
from tests.processes import alive_with
from tests.signals import hearing


def command(manifest: Path, root: Path, out: Path, *more: object) -> list[str]:
    given = ["run", "--manifest", manifest, "--root", root, "--out", out, "--frames", 2, "--videos-per-shard", 4, *more]
    return [sys.executable, "-m", "extract", *map(str, given)]


@pytest.mark.parametrize(
    ("workers", "number"),
    [(0, signal.SIGINT), pytest.param(2, signal.SIGTERM, marks=(pytest.mark.ray, pytest.mark.slow))],
    ids=["ctrl-c without Ray", "SIGTERM with Ray"],
)
def test_a_signal_stops_cleanly(
    workers: int,
    number: signal.Signals,
    forty_shards: Path,
    ten_videos: Path,
    forty_manifest_path: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "shards"
    environment = {**os.environ, "REGIONVLP_TEST": str(tmp_path)}
    run = command(forty_manifest_path, ten_videos, out, "--workers", workers)
    process = subprocess.Popen(hearing(run), env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while process.poll() is None and not list(out.glob("train-*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert "stopped; committed shards stay in" in stderr and "Traceback" not in stderr
    assert alive_with("REGIONVLP_TEST", str(tmp_path)) == []
    left = bytes_of(out)
    assert 2 <= len(left) < len(bytes_of(forty_shards))
    assert all(name == ".lock" or not name.startswith(".") for name in left)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("train-*.json")}
    extract(forty_manifest_path, settings_for(ten_videos, out))
    assert bytes_of(out) == bytes_of(forty_shards)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


SMALL_DISK = """
import subprocess, sys
out, inside, command = sys.argv[1], sys.argv[2], sys.argv[3:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", out], check=True)
first = subprocess.run(command, capture_output=True, text=True)
left = sorted(name for name in __import__("os").listdir(out))
subprocess.run(["mount", "-o", "remount,size=64m", out], check=True)
second = subprocess.run(command, capture_output=True, text=True)
subprocess.run(["cp", "-a", out, inside], check=True)
print(repr((first.returncode, first.stderr, left, second.returncode, second.stderr)))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=(pytest.mark.ray, pytest.mark.slow))])
def test_the_disk_fills_up_and_is_emptied(
    workers: int, forty_shards: Path, ten_videos: Path, forty_manifest_path: Path, tmp_path: Path
) -> None:
    """A real disk of 700 kB, in a mount namespace of its own; the forty videos want 2.5 MB."""
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody have a mount namespace of their own")
    out, kept = tmp_path / "disk", tmp_path / "kept"
    out.mkdir()
    run = command(forty_manifest_path, ten_videos, out, "--workers", workers)
    done = subprocess.run(
        [*alone, sys.executable, "-c", SMALL_DISK, str(out), str(kept), *run],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    code, said, left, code_again, said_again = eval(done.stdout)
    assert code == 1, said
    assert f"{out}: no room is left there; free some" in said and "Traceback" not in said
    assert "committed shards stay" in said
    assert any(name.startswith("train-") for name in left)
    assert all(name == ".lock" or not name.startswith(".") for name in left)
    assert code_again == 0, said_again
    assert bytes_of(kept) == bytes_of(forty_shards)


def test_output_behind_a_url(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """Any file system that fsspec knows; this one lives in memory. Every command reads there what `run` wrote."""
    (root, manifest), url = hostile, f"memory://{tmp_path.name}/shards"
    local, out = tmp_path / "local", location(url)
    where, how = ["--manifest", str(manifest), "--root", str(root)], ["--frames", "2", "--videos-per-shard", "4"]

    def call(*arguments: str) -> str:
        return CliRunner().invoke(main, arguments).output

    assert "4 shards made" in call("run", *where, "--out", url, *how)
    extract(manifest, settings_for(root, local))
    here = {name: data for name, data in bytes_of(local).items() if name != ".lock"}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == here
    (out / "train-00001.json").unlink()
    (out / "train-00001.tar").write_bytes(b"half")
    assert "1 shards made, 3 were there" in call("run", *where, "--out", url, *how)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == here
    assert "0 problems" in call("verify", url)
    assert "5" in call("coverage", url, *where[:2]) and "no_video_stream" in call("coverage", url, *where[:2])
    assert "round 1: 1 items tried again, 1 failed again" in call("retry", url, *where, "--reasons", "no_video_stream")
    assert all((out / name).read_bytes() == data for name, data in here.items() if name != "index.json")
    picture = tmp_path / "picture.png"
    call("show", url, "video0", "--out", str(picture))
    assert picture.stat().st_size > 1000
