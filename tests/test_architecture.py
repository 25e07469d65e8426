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
    from_torch = [n.names for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "torch"]
    assert "load" not in {alias.name for names in from_torch for alias in names}, "torch.load is called by that name"
    assert "ray" not in found or name in RAY_FILES
    assert "detectron2" not in found or name.startswith("extract/")
    assert "subprocess" not in found or name in {"data_specs/media.py", "pipelines/runner.py"}
    assert Path(name).stem not in {"utils", "util", "helpers", "misc", "common"}


def calls(tree: ast.Module) -> Iterator[tuple[str, dict[str, str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg or "": ast.unparse(keyword.value) for keyword in node.keywords}


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=[name for name, _ in SOURCES])
def test_nothing_untrusted_is_unpickled(name: str, tree: ast.Module) -> None:
    for function, keywords in calls(tree):
        assert function not in {"pickle.load", "pickle.loads", "pickle.Unpickler", "os.system", "eval", "exec"}
        assert function != "torch.load" or keywords.get("weights_only") == "True"
        assert function != "importlib.import_module" or name.startswith("pipelines/")
        assert "shell" not in keywords
        assert "allow_pickle" not in keywords


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=[name for name, _ in SOURCES])
def test_commands_parse_build_and_call(name: str, tree: ast.Module) -> None:
    if not name.endswith("__main__.py") and "/commands/" not in name:
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 < 60, node.name


def test_ray_is_not_needed() -> None:
    """Everything but the two cluster modules imports where Ray is not installed."""
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name, _ in SOURCES]
    without = [module for module in modules if not module.endswith(("cluster", "__main__"))]
    script = f"import importlib, sys; sys.modules['ray'] = None; [importlib.import_module(m) for m in {without}]"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_detectron2_is_not_needed_after_stage_1() -> None:
    modules = "train.trainer, evaluate.retrieval, evaluate.reports.retrieval"
    script = f"import sys; sys.modules['detectron2'] = None; import {modules}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
