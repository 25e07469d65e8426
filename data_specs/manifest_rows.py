"""The rules that every row of a manifest keeps, checked whole columns at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.errors import InputError

# Empty, absolute, with a NUL, or with ".." among its parts.
_OUTSIDE = r"^$|^/|\x00|(?:^|/)\.\.(?:/|$)"


def check_rows(table: pa.Table, source: str, allowed: Mapping[str, Sequence[str]]) -> None:
    """Checks ids, paths, clips and the columns of which only some values are ``allowed``.

    Raises:
        InputError: a row breaks the contract; names ``source``, the row (from 0) and the column.
    """
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{source}: a column holds what it may not: {error}") from None
    ids = table["id"]
    if ids.null_count or pc.any(pc.equal(ids, "")).as_py() or pc.count_distinct(ids).as_py() != len(ids):
        _refuse_ids(ids, source)
    for column, values in allowed.items():
        row = _first(pc.invert(pc.is_in(plain_texts(table[column]), value_set=pa.array(values, pa.string()))))
        if row is not None:
            value = table[column][row].as_py()
            raise InputError(f"{source}: row {row}: column {column}: {value!r}, allowed: {', '.join(values)}")
    row = _first(pc.fill_null(pc.match_substring_regex(table["path"], _OUTSIDE), True))
    if row is not None:
        value = table["path"][row].as_py()
        raise InputError(f"{source}: row {row}: column path: {value!r} is not a path below the media root")
    for column in ("captions", "questions"):
        _refuse_nulls(table[column], column, source)
    starts, ends = pc.fill_null(table["clip_start"], 0.0), pc.fill_null(table["clip_end"], math.inf)
    row = _first(pc.invert(pc.and_(pc.greater_equal(starts, 0.0), pc.less(starts, ends))))  # NaN compares false
    if row is not None:
        start, end = starts[row].as_py(), ends[row].as_py()
        raise InputError(f"{source}: row {row}: clip_start {start} and clip_end {end} do not make a clip")


def plain_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary column as texts."""
    return column.cast(pa.string())


def _refuse_ids(ids: pa.ChunkedArray, source: str) -> None:
    """Some id is empty or stands twice: finds the first."""
    seen: dict[str, int] = {}
    for row, identifier in enumerate(value.as_py() for value in ids):
        if not identifier:
            raise InputError(f"{source}: row {row}: column id is empty")
        if identifier in seen:
            raise InputError(f"{source}: row {row}: column id: {identifier!r} already stands in row {seen[identifier]}")
        seen[identifier] = row


def _refuse_nulls(column: pa.ChunkedArray, name: str, source: str) -> None:
    """A list may be absent or empty, but what stands in it is there: texts, and whole questions."""
    at = 0
    for chunk in column.chunks:
        held = chunk.flatten()
        fields = [held, *(held.flatten() if pa.types.is_struct(held.type) else ())]
        if any(field.null_count for field in fields):
            absent = next(field.is_null().index(True).as_py() for field in fields if field.null_count)
            row = at + pc.list_parent_indices(chunk)[absent].as_py()
            raise InputError(f"{source}: row {row}: column {name}: holds something that is absent (null)")
        at += len(chunk)


def _first(mask: pa.ChunkedArray) -> int | None:
    """The first row at which a mask is true."""
    row = pc.index(mask, True).as_py()
    return None if row < 0 else row
