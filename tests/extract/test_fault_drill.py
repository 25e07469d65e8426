"""The fault drill: good clips and some 70 bad files, while workers and the driver are killed again and again.

Eight kills over 80 clips by default; ``REGIONVLP_DRILL_KILLS=20`` is the whole drill, of five minutes and 200 clips.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_specs.shards import records
from extract.driver import run_extraction
from extract.plan import Plan
from extract.settings import make_settings, provenance
from extract.verify import verify
from tests.extract.drill import Drill, LoopbackServer, loopback_server, make_drill
from tests.extract.runs import bytes_of
from tests.processes import alive_with, carrying, parent_of

KILLS = int(os.environ.get("REGIONVLP_DRILL_KILLS", "8"))
CLIPS, DRIVER_KILLS = 10 * KILLS, KILLS // 4
MARK = "REGIONVLP_DRILL"
OPTIONS = {"frames": 2, "regions": 5}
PER_SHARD = 8
RAY_ENDS_IN_S = 120.0
"""Agents of a Ray whose driver was killed were seen to outlive it by more than 20 s: they report to its control service
before they end, and that is dead."""


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with loopback_server() as found:
        yield found


@pytest.fixture(scope="module")
def drill(server: LoopbackServer, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return make_drill(tmp_path_factory.mktemp("drill") / "media", CLIPS, server.port)


@pytest.fixture(scope="module")
def calm(drill: Drill) -> Path:
    """The shards of a run in this process that nobody disturbed."""
    from data_specs.manifest import read_manifest

    items = read_manifest(drill.manifest)
    settings = make_settings("shapes", (), root=drill.root, out=drill.root.parent / "calm", **OPTIONS)
    made = run_extraction(settings, Plan(items, None, PER_SHARD), provenance(settings, items, drill.manifest), 0, None)
    assert made.failures == len(drill.bad)
    return settings.out


def test_a_calm_run_gives_every_good_clip_and_every_reason(drill: Drill, calm: Path, server: LoopbackServer) -> None:
    found = records(calm)
    assert {f.id: f.reason.value for record in found for f in record.failures} == drill.bad
    assert len(drill.good) >= CLIPS and len(drill.bad) >= 25
    assert sum(record.num_samples for record in found) == len(drill.good)
    assert verify(calm, 1, lambda: None).problems == ()
    assert server.asked == []


@pytest.mark.ray
@pytest.mark.slow
def test_kills_change_nothing(drill: Drill, calm: Path, server: LoopbackServer, tmp_path: Path) -> None:
    out, scratch, ray_folder = tmp_path / "out", tmp_path / "scratch", Path(tempfile.mkdtemp(prefix="drill-"))
    scratch.mkdir()
    before = listing(tmp_path) | listing(drill.root.parent)
    environment = {**os.environ, MARK: str(tmp_path), "TMPDIR": str(scratch), "RAY_TMPDIR": str(ray_folder)}
    try:
        killed, code, said = run_under_fire(drill, out, environment, len(list(calm.glob("*.tar"))))
    finally:
        shutil.rmtree(ray_folder)
    assert (killed, code) == (KILLS, 1), said
    assert bytes_of(out) == bytes_of(calm)
    assert alive_with(MARK, str(tmp_path), RAY_ENDS_IN_S) == []
    after = listing(tmp_path) | listing(drill.root.parent)
    assert {path for path in after.items() ^ before.items() if out not in (path[0], *path[0].parents)} == set()
    assert server.asked == []


def run_under_fire(drill: Drill, out: Path, environment: dict[str, str], shards: int) -> tuple[int, int, str]:
    """Kills a process of the run whenever another part of the shards is made; a killed driver is started again.

    Gives the number of kills, and exit code and standard error of the last driver.
    """
    draw, killed = random.Random(20), 0
    of_drivers = set(draw.sample(range(KILLS), DRIVER_KILLS))
    driver = start(drill, out, environment)
    while killed < KILLS and driver.poll() is None:
        wait_for(out, shards * killed // (KILLS + 1), driver)
        time.sleep(draw.uniform(0.0, 1.5))
        victim = driver.pid if killed in of_drivers else draw.choice(workers_of(environment) or [0])
        if victim == 0 or not hit(victim):
            continue
        killed += 1
        if victim == driver.pid:
            driver.communicate()
            driver = start(drill, out, environment)
    try:
        _, said = driver.communicate(timeout=400)
    finally:
        driver.kill()
    return killed, driver.returncode, said


def workers_of(environment: dict[str, str]) -> list[int]:
    """Process ids of the workers; a process that one of them is just starting bears its name for a moment."""
    named = [process for process, title in carrying(MARK, environment[MARK]) if title.startswith("ray::ShardActor")]
    return sorted(process for process in named if parent_of(process) not in named)


def start(drill: Drill, out: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "extract", "run", "--manifest", str(drill.manifest), "--root", str(drill.root)]
    command += ["--out", str(out), "--workers", "2", "--videos-per-shard", str(PER_SHARD)]
    command += [part for name, value in OPTIONS.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(out: Path, committed: int, driver: subprocess.Popen[str]) -> None:
    """Until so many shards are committed and another is at work."""
    deadline = time.monotonic() + 300
    while driver.poll() is None and time.monotonic() < deadline:
        if out.is_dir() and len(list(out.glob("train-*.json"))) >= committed and any(out.glob(".*.begun")):
            return
        time.sleep(0.02)
    assert driver.poll() is not None, f"nothing was at work for minutes; {committed} shards were awaited"


def hit(process: int) -> bool:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder below a folder, with size and time of change; the folder itself has neither."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[path] = (status.st_size, status.st_mtime_ns) if not path.is_dir() else (0, 0)
    return found
