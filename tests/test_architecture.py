"""The rules that keep the house in order (README, "The house"), checked on the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("data_specs", "extract", "train", "evaluate", "pipelines")
MAY_IMPORT = {
    "data_specs": set(),
    "extract": {"data_specs"},
    "train": {"data_specs"},
    "evaluate": {"data_specs", "train"},
    "pipelines": {"data_specs", "extract", "train", "evaluate"},
}
RAY_FILES = {"extract/cluster.py", "train/cluster.py"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


SOURCES = list(sources())


def test_there_is_something_to_check() -> None:
    assert {name.split("/")[0] for name, _ in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=[name for name, _ in SOURCES])
def test_arrows_point_one_way(name: str, tree: ast.Module) -> None:
    package = name.split("/")[0]
    assert imported(tree) & set(PACKAGES) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=[name for name, _ in SOURCES])
def test_parts_stay_in_their_rooms(name: str, tree: ast.Module) -> None:
    found = imported(tree)
    assert "ray" not in found or name in RAY_FILES
    assert "detectron2" not in found or name.startswith("extract/")
    assert "subprocess" not in found or name in {"data_specs/media.py", "pipelines/runner.py"}
    assert Path(name).stem not in {"utils", "util", "helpers", "misc", "common"}


def calls(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg or "" for keyword in node.keywords}


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=[name for name, _ in SOURCES])
def test_nothing_untrusted_is_unpickled(name: str, tree: ast.Module) -> None:
    for function, keywords in calls(tree):
        assert function not in {"pickle.load", "pickle.loads", "os.system", "eval", "exec"}
        assert function != "torch.load" or "weights_only" in keywords
        assert "shell" not in keywords
        assert "allow_pickle" not in keywords


@pytest.mark.parametrize("package", ["data_specs.shards", "train.trainer", "evaluate.retrieval", "extract.worker"])
def test_ray_is_not_needed(package: str) -> None:
    """Everything but the two cluster modules imports where Ray is not installed."""
    script = f"import sys; sys.modules['ray'] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["train.trainer", "evaluate.retrieval"])
def test_detectron2_is_not_needed_after_stage_1(package: str) -> None:
    script = f"import sys; sys.modules['detectron2'] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
