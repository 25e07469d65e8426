"""What a check of the media found, in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from data_specs.check import Checked


def found_table(checked: Checked, manifest: Path, probed: bool) -> Table:
    """One row a split: expected, in the annotations, on disk, and what is wrong with the rest."""
    columns = ("split", "expected by the spec", "in the annotations", "on disk", "missing", "empty", "unreadable")
    table = Table(*columns, title=escape(str(manifest)))
    for split, count in checked.splits.items():
        expected = "any" if count.expected is None else f"{count.expected:,}"
        unreadable = f"{count.unreadable:,}" if probed or count.unreadable else "not probed"
        numbers = (count.rows, count.on_disk, count.missing, count.empty)
        table.add_row(split, expected, *(f"{number:,}" for number in numbers), unreadable)
    return table


def fault_lines(checked: Checked, shown: int) -> Iterator[str]:
    """A line each of the first faults, and one for the others; names are quoted, so that they stay on their line."""
    for split, path, failure in itertools.islice(checked.faults(), shown):
        yield f"{split}  {failure.id!r}  {path!r}  {failure.reason}: {failure.detail}"
    if checked.num_faults > shown:
        yield f"... {checked.num_faults - shown:,} more; --out FILE.jsonl writes them all"
