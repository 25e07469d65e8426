"""The parts that a pipeline needs: Python and the packages of the lock."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterable, Iterator

from pipelines.doctor.finding import Finding, failure, ok, warning

_PYTHON = (3, 11)
_TRAINING = ("torch", "transformers", "webdataset", "safetensors")
_NEEDED = {
    "data_specs": ("pyarrow",),
    "extract": ("torch", "torchvision", "detectron2", "webdataset", "pyarrow", "safetensors"),
    "train": _TRAINING,
    "evaluate": (*_TRAINING, "pyarrow"),
}
_ALL = ("torch", "torchvision", "detectron2", "ray", "webdataset", "transformers", "pyarrow", "safetensors")


def check_parts(packages: Iterable[str], ray: bool = False) -> Iterator[Finding]:
    """Python and every part with its version; one that is missing is a failure where a step needs it.

    packages: whose commands the steps are. ray: whether a step starts Ray workers.
    """
    yield _python()
    needed = {part for package in packages for part in _NEEDED.get(package, ())} | ({"ray"} if ray else set())
    pins = _pins()
    there: list[str] = []
    for part in _ALL:
        version = _version(part)
        if version is None and part in needed:
            yield failure("parts", f"{part} is not installed, and this pipeline needs it", "make setup")
        elif version is None:
            there.append(f"{part} absent (not needed here)")
        elif part in pins and version.split("+")[0] != pins[part]:
            yield warning("parts", f"{part} {version}; what was tested is {pins[part]}", "make setup")
        else:
            there.append(f"{part} {version}{_builder(part)}")
    yield ok("parts", ", ".join(there))


def _python() -> Finding:
    found = f"Python {platform.python_version()}"
    if sys.version_info[:2] == _PYTHON:
        return ok("parts", found)
    wanted = ".".join(map(str, _PYTHON))
    return failure("parts", f"{found}, made for {wanted}", f"make setup PYTHON=/path/to/python{wanted}")


def _version(part: str) -> str | None:
    """The installed version; None where the package cannot be found, which is asked without importing it."""
    if importlib.util.find_spec(part) is None:
        return None
    try:
        return importlib.metadata.version(part)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _builder(part: str) -> str:
    """Says of detectron2 whether it is the wheel that install/detectron2_wheel.py makes; it names itself in it."""
    if part != "detectron2":
        return ""
    try:
        wheel = importlib.metadata.distribution(part).read_text("WHEEL") or ""
    except importlib.metadata.PackageNotFoundError:
        return " (not installed from a wheel)"
    return " (ours, without compiled operators)" if re.search(r"^Generator: regionvlp ", wheel, re.M) else " (official)"


def _pins() -> dict[str, str]:
    """The versions that the installed project asks for; none where it runs from a bare checkout."""
    try:
        requirements = importlib.metadata.requires("regionvlp") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    matches = (re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^;\s]+)", requirement) for requirement in requirements)
    return {match[1].lower(): match[2] for match in matches if match}
