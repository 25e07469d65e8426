"""What a check found."""

from __future__ import annotations

from enum import StrEnum

from data_specs.configuration import Settings


class Level(StrEnum):
    """failure: the run would stop, or end with an exit code other than 0. warning: it would not, but look at this."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(Settings):
    """One line of the page: what was looked at, what was found and, unless all is well, the way out."""

    level: Level
    title: str
    found: str
    way_out: str = ""


def ok(title: str, found: str) -> Finding:
    """All is well."""
    return Finding(level=Level.OK, title=title, found=found)


def warning(title: str, found: str, way_out: str) -> Finding:
    """The run would go through, perhaps not as meant."""
    return Finding(level=Level.WARNING, title=title, found=found, way_out=way_out)


def failure(title: str, found: str, way_out: str) -> Finding:
    """The run would fail."""
    return Finding(level=Level.FAILURE, title=title, found=found, way_out=way_out)
