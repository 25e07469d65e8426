"""Pieces of work: commands that depend on one another, each known by everything that its result depends on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]
BEHIND = {
    "data_specs": ("data_specs",),
    "extract": ("data_specs", "extract"),
    "train": ("data_specs", "train"),
    "evaluate": ("data_specs", "train", "evaluate"),
}
"""The packages whose code a package's commands run."""
CODE = (".py", ".yaml", ".safetensors", ".html", ".j2")


@dataclass(frozen=True)
class Work:
    """One command, and what it needs and makes.

    command: arguments after ``python -m``. out: a file or folder that it writes, and that is its own. after: what must
    be done before. config: written to ``config_path``, which the command names. cores: that it keeps busy; with
    ``ranks`` it is started by torchrun, so many times.
    """

    name: str
    command: tuple[str, ...]
    out: Path
    after: tuple[Work, ...] = ()
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    config_path: Path | None = None
    cores: int = 1
    ranks: int = 1

    def key(self, with_code: bool = True) -> str:
        """A hash of the command, its configuration, its package's code and all that it depends on."""
        return _key(self, with_code)

    def shown(self, folder: Path | None = None) -> str:
        """The command line; to be typed in ``folder``, if there is one, with the paths below it as they are there."""
        start = "python -m" if self.ranks == 1 else f"torchrun --standalone --nproc-per-node {self.ranks} -m"
        below = "" if folder is None else f"{folder}/"
        return " ".join((start, *(argument.removeprefix(below) for argument in self.command)))

    @property
    def config_text(self) -> str:
        """The configuration as it is written."""
        return yaml.safe_dump(dict(self.config or {}), sort_keys=False)


@functools.cache
def _key(work: Work, with_code: bool) -> str:
    said = {
        "command": work.command,
        "config": work.config_text,
        "ranks": work.ranks,
        "code": [_source(package) for package in BEHIND[work.command[0]]] if with_code else None,
        "after": [_key(before, with_code) for before in work.after],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@functools.cache
def _source(package: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in (CHECKOUT / package).rglob("*") if p.suffix in CODE):
        digest.update(f"{path.relative_to(CHECKOUT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
