"""What was asked and answered as Parquet, a row a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs import atomic


def write_table(path: Path, columns: Iterable[Sequence[Any]], schema: pa.Schema) -> None:
    """Writes the columns, in the order of the schema's fields, whole or not at all.

    Raises:
        OSError: the disk refuses.
    """
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    with atomic.replacing(path) as temporary:
        pq.write_table(pa.table(arrays, schema=schema), temporary, compression="zstd")
