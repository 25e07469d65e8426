"""Delimited tables of any size, one row in memory at a time: quoted or not, with a header or without."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import InputError

MAX_FIELD = 64 << 20  # characters; captions of 10 MB exist in the wild, a forgotten quote must not take all memory


@dataclass(frozen=True)
class TableForm:
    """How a table is written.

    quoted: values may stand in double quotes and then hold delimiters, line feeds and doubled quotes (CSV); else a
            quote is a letter like any other.
    strict: a letter after a closing quote is an error, not part of the value.
    """

    delimiter: str = "\t"
    quoted: bool = True
    strict: bool = True


CSV = TableForm(",")
TSV = TableForm("\t")
RAW_TSV = TableForm("\t", quoted=False)


def read_rows(path: Path, lines: Iterable[str], form: TableForm) -> Iterator[tuple[int, list[str]]]:
    """Row number (that of its first line, from 1) and values of each row that is not blank.

    ``lines`` are the lines of ``path`` with their ends.

    Raises:
        InputError: not a table of this form; names file and row.
    """
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(
        lines,
        delimiter=form.delimiter,
        quoting=csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        strict=form.strict,
    )
    while True:
        row = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            kind = "CSV" if form.delimiter == "," else "TSV"
            raise InputError(f"{path}: row {row}: not {kind}: {error}") from None
        if values:
            yield row, values


def wide_rows(path: Path, rows: Iterable[tuple[int, list[str]]], columns: int) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table without a header, each of which must have this many values.

    Raises:
        InputError: a row has not; names file and row.
    """
    for row, values in rows:
        if len(values) != columns:
            raise InputError(f"{path}: row {row}: not {columns} values, but {len(values)}")
        yield row, values


def named_rows(
    path: Path, rows: Iterable[tuple[int, list[str]]], columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table with a header, by name; ``columns`` must be in it, in any order, others may.

    Raises:
        InputError: there is no such column, or a row has too few or too many values; names file, row and column.
    """
    upcoming = iter(rows)
    _, header = next(upcoming, (1, []))
    for name in columns:
        if header.count(name) != 1:
            number = "two columns" if name in header else "no column"
            raise InputError(f"{path}: row 1: {number} {name!r}, found: {', '.join(header)[:200]}")
    for row, values in wide_rows(path, upcoming, len(header)):
        yield row, dict(zip(header, values, strict=True))
