"""A video that takes its worker down costs its own row and nothing else."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.manifest import Item, Manifest, ManifestInfo, write_manifest
from data_specs.shards import iterate_shard, records
from extract.safety.attempts import begun
from extract.safety.isolation import Work, each_alone
from tests.extract import faults
from tests.extract.runs import bytes_of
from tests.processes import alive_with

PATIENCE = ["--set", "limits.wall_s=2.5", "--set", "item_s=10", "--set", "hung_s=15"]


@pytest.fixture(scope="module")
def with_killers(ten_videos: Path, ten_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A media root with three clips that are good and whose names are fatal, and ``m.parquet`` beside them."""
    root = tmp_path_factory.mktemp("killers")
    shutil.copytree(ten_videos / "videos", root / "videos")
    items = list(ten_manifest)
    for place, name in ((1, faults.KILLS), (4, faults.STOPS), (8, faults.RAISES)):
        shutil.copy(ten_videos / items[0].path, root / name)
        items.insert(place, Item(name.removesuffix(".mp4"), name, "train", captions=("fatal",)))
    write_manifest(root / "m.parquet", items, ManifestInfo("msrvtt", "1k-A"))
    return root


def command(root: Path, out: Path, workers: int) -> list[str]:
    where = ["--manifest", str(root / "m.parquet"), "--root", str(root), "--out", str(out)]
    how = ["--frames", "2", "--videos-per-shard", "4", "--workers", str(workers)]
    return [sys.executable, "-m", "extract", "run", *where, *how, *PATIENCE]


@pytest.mark.ray
@pytest.mark.slow
def test_killers_are_quarantined_and_their_shard_is_completed(with_killers: Path, tmp_path: Path) -> None:
    """On Ray: the worker that is killed is restarted, the one that is stopped is found by its silence."""
    environment = faults.environment(tmp_path / "site") | {"REGIONVLP_TEST": str(tmp_path)}
    done = subprocess.run(
        command(with_killers, tmp_path / "ray", 2), env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 1, done.stderr
    assert "nothing was finished for" in done.stderr
    found = list(records(tmp_path / "ray"))
    failures = {f.id: (f.reason.value, f.detail) for record in found for f in record.failures}
    said = "the process that worked on it ended 2 times: "
    assert failures == {
        "kills": ("killed_worker", f"{said}killed by SIGKILL"),
        "stops": ("killed_worker", f"{said}no answer within 10 s"),
        "raises": ("killed_worker", f"{said}RuntimeError: the device is out of order"),
    }
    assert sum(record.num_samples for record in found) == 10
    assert alive_with("REGIONVLP_TEST", str(tmp_path)) == []
    here = command(with_killers, tmp_path / "here", 0)
    killed = subprocess.run(here, env=environment, capture_output=True, timeout=400)
    assert killed.returncode == -signal.SIGKILL  # in this process nobody is there to see it; the next run knows
    shutil.copytree(tmp_path / "ray", tmp_path / "half")
    for name in ("train-00000", "train-00001", "train-00002"):
        (tmp_path / "half" / f"{name}.json").unlink()
        (tmp_path / "half" / f".{name}.begun").touch()
    again = command(with_killers, tmp_path / "half", 0)
    assert subprocess.run(again, env=environment, capture_output=True, timeout=400).returncode == 1
    assert bytes_of(tmp_path / "half") == bytes_of(tmp_path / "ray")


def test_a_shard_done_with_care_has_the_same_bytes(ten_shards: Path, with_killers: Path, tmp_path: Path) -> None:
    """Without their harm the three are plain clips, done in this process or in a child."""
    calm, careful = tmp_path / "calm", tmp_path / "careful"
    assert subprocess.run(command(with_killers, calm, 0), capture_output=True, timeout=400).returncode == 0
    careful.mkdir()
    (careful / ".train-00001.begun").touch()
    assert subprocess.run(command(with_killers, careful, 0), capture_output=True, timeout=400).returncode == 0
    assert bytes_of(careful) == bytes_of(calm)
    samples = [s.id for record in records(calm) for s in iterate_shard(calm / record.shard)]
    assert len(samples) == 13


def test_an_item_that_takes_careful_workers_with_it_is_known_by_the_mark(tmp_path: Path) -> None:
    """As where the kernel kills a whole container: nobody is left to tell, but for what stands beside the shard."""
    for deaths in range(4):
        with begun(tmp_path, "train-00000") as mark:
            assert mark.died == (deaths > 0)
            assert mark.deaths.get("bomb", 0) == deaths
            mark.enter("bomb")
            left = (tmp_path / ".train-00000.begun").read_bytes()  # the worker dies here
        (tmp_path / ".train-00000.begun").write_bytes(left)
    with begun(tmp_path, "train-00000") as mark:
        items = [Item("bomb", "bomb.mp4", "train")]
        ((item, found),) = each_alone(items, _never, 1.0, mark, lambda: None)
        assert isinstance(found, Failure)
        assert (item.id, found.reason.value) == ("bomb", "killed_worker")
        assert "died 3 times" in found.detail
    assert not list(tmp_path.iterdir())


def _never() -> Work:
    raise AssertionError("no child is started for it")


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("no"), RuntimeError("a device")])
def test_who_says_what_is_wrong_leaves_no_mark(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(BaseException, match=""), begun(tmp_path, "train-00000"):
        raise error
    assert bool(list(tmp_path.iterdir())) == isinstance(error, RuntimeError)
