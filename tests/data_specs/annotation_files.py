"""What the tests of annotation parsers share: where published files are, building, and being refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from data_specs.build import Built, build_manifest
from data_specs.errors import InputError
from data_specs.manifest import Item

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/annotations"


def published(name: str) -> Path:
    """The folder of a data set's published annotation files; skips the test where it is absent."""
    if not (REAL / name).is_dir():
        pytest.skip(f"the published annotation files of {name} are not here (../shared/annotations)")
    return REAL / name


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def table(rows: Iterable[Sequence[object]], delimiter: str = "\t", end: str = "\r\n") -> str:
    """A table as the published ones are written: values quoted only where they must be."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows(rows)
    return stream.getvalue()


def build(name: str, root: Path, protocol: str | None = None) -> Built:
    return build_manifest(name, root, root / "m.parquet", protocol)


def items(name: str, root: Path, protocol: str | None = None) -> list[Item]:
    return list(build(name, root, protocol).manifest)


def refused(name: str, root: Path, protocol: str | None = None) -> str:
    """The one line with which a build is refused; nothing may have been written."""
    with pytest.raises(InputError) as error:
        build(name, root, protocol)
    assert "\n" not in error.value.message
    assert not (root / "m.parquet").exists()
    return error.value.message
