"""What the doctor said, for tests."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from pipelines.__main__ import main


class Page:
    """Findings, as the JSON file has them, and the exit code."""

    def __init__(self, exit_code: int, output: str, findings: list[dict[str, str]]) -> None:
        self.exit_code = exit_code
        self.output = output
        self.findings = findings

    def of(self, title: str, level: str | None = None) -> list[dict[str, str]]:
        return [f for f in self.findings if f["title"] == title and level in (None, f["level"])]

    def failures(self) -> list[tuple[str, str]]:
        """Titles and texts, the way out included."""
        return [(f["title"], f"{f['found']} → {f['way_out']}") for f in self.findings if f["level"] == "failure"]

    def fails_only_in(self, title: str) -> str:
        """The text of the one failure, after checking that it is the only one and the exit code says so."""
        assert [name for name, _ in self.failures()] == [title], self.failures()
        assert self.exit_code == 1
        assert all(finding["way_out"] for finding in self.findings if finding["level"] != "ok")
        return self.failures()[0][1]


def examine(file: Path, name: str, *assignments: str, quick: bool = True) -> Page:
    """Runs the command line's doctor; ``file`` is where it writes its JSON."""
    arguments = ["doctor", name, "--json", str(file), *["--quick"] * quick]
    for assignment in assignments:
        arguments += ["--set", assignment]
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Page(result.exit_code, result.output, json.loads(file.read_text())["findings"])
