"""Two Ray nodes on this machine, one of which is taken away in the middle of the run."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extract.runs import bytes_of
from tests.processes import alive_with


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_is_lost_in_mid_run(
    forty_shards: Path, ten_videos: Path, forty_manifest_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("REGIONVLP_TEST", str(tmp_path))
    out = tmp_path / "shards"
    room = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=room)
    try:
        second = cluster.add_node(**room)
        command = [sys.executable, "-m", "extract", "run", "--manifest", str(forty_manifest_path)]
        command += ["--root", str(ten_videos), "--out", str(out), "--frames", "2", "--videos-per-shard", "4"]
        command += ["--workers", "2", "--address", cluster.address]
        driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _wait_until_both_work(out, driver)
        cluster.remove_node(second, allow_graceful=False)
        _, stderr = driver.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert driver.returncode == 0, stderr
    assert re.search("its worker (was lost with its node|died)", stderr)  # it takes Ray a while to know which
    assert bytes_of(out) == bytes_of(forty_shards)
    assert alive_with("REGIONVLP_TEST", str(tmp_path)) == []


def _wait_until_both_work(out: Path, driver: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while driver.poll() is None and time.monotonic() < deadline:
        if out.is_dir() and len(list(out.glob(".*.begun"))) == 2:
            return
        time.sleep(0.01)
    driver.kill()
    pytest.fail(f"two workers were never at work; the driver said: {driver.communicate()[1]}")
