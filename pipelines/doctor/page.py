"""How findings are shown: a page for people, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pipelines.doctor.finding import Finding, Level

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


def show(console: Console, name: str, findings: list[Finding]) -> None:
    """Prints a line a finding, its way out below it, and how many there are of each level."""
    table = Table(
        Column("", no_wrap=True), Column("", no_wrap=True), Column("", overflow="fold"), box=None, show_header=False
    )
    for finding in findings:
        style = _STYLES[finding.level]
        table.add_row(f"[{style}]{finding.level}[/{style}]", finding.title, escape(finding.found))
        if finding.way_out:
            table.add_row("", "", f"[bold]→[/bold] {escape(finding.way_out)}")
    console.print(table)
    console.print(summary(name, findings), highlight=False, markup=False, soft_wrap=True)


def summary(name: str, findings: Iterable[Finding]) -> str:
    """The last line of the page."""
    counts = Counter(finding.level for finding in findings)
    numbers = ", ".join(f"{counts[level]} {level}" for level in Level)
    says = "would fail" if counts[Level.FAILURE] else "nothing that was looked at would fail"
    return f"{name}: {says} ({numbers})"


def as_json(name: str, values: dict[str, Any], findings: list[Finding]) -> str:
    """The same for machines."""
    failed = any(finding.level is Level.FAILURE for finding in findings)
    tree = {
        "pipeline": name,
        "values": values,
        "would_fail": failed,
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    return json.dumps(tree, indent=1, ensure_ascii=False, default=str) + "\n"
