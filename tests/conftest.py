"""What several packages' tests share: the ten-video fixture, its manifest, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from data_specs.build import build_manifest
from data_specs.manifest import Manifest, read_manifest

settings.register_profile("any machine", deadline=None)  # how long a test takes says nothing of what it tests
settings.load_profile("any machine")

FIXTURE = Path(__file__).parent / "fixtures" / "msrvtt10"


class TurnsOfRay(LoadScopeScheduling):  # type: ignore[misc]  # no types are declared for it
    """In several processes a file's tests stay together, for what they share; files of a folder that start Ray, too:
    they take turns. Those of different folders may have a Ray each at the same time: they look for none but their own
    processes."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return str(Path(file).parent) if starts_ray(self.config.rootpath / file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TurnsOfRay | None:
    return TurnsOfRay(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Ray begin first, as they take longest."""
    items.sort(key=lambda item: not starts_ray(item.path))


@lru_cache
def starts_ray(file: Path) -> bool:
    return "pytest.mark.ray" in file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def ten_videos() -> Path:
    """The folder of ten videos in MSR-VTT's layout."""
    return FIXTURE


@pytest.fixture(scope="session")
def ten_manifest_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their manifest (protocol 1k-A: 6 train, 4 test)."""
    path = tmp_path_factory.mktemp("manifest") / "msrvtt.parquet"
    build_manifest("msrvtt", FIXTURE, path)
    return path


@pytest.fixture(scope="session")
def ten_manifest(ten_manifest_path: Path) -> Manifest:
    return read_manifest(ten_manifest_path)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[ModuleType]:
    """Ray on two CPUs, started once for all tests that want it; gives the module."""
    import ray

    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
    )  # fmt: skip
    yield ray
    ray.shutdown()
