"""A table in a folder of its own: parts that are whole or absent, then one file a column that maps into memory.

While it is made, ``part-00003.safetensors`` holds the rows of some items, in the order in which they are made. When all
parts are there each column is put into the asked order, in one file, without taking memory for it; ``table.json`` is
written last, and only then the parts go. What is cut, of other shapes or of other bytes than recorded
(a part carries its hash) is made again.

Letters: I items in the order in which they are made.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError
from data_specs.shards import file_sha256

FORMAT_VERSION = 1
RECORD_NAME = "table.json"
HASH_KEY = "sha256"


@dataclass(frozen=True)
class Column:
    """The type and the shape of one row. An item has one row, or as many as its entry in the column ``count`` says."""

    dtype: torch.dtype = torch.float32
    row: tuple[int, ...] = ()
    count: str | None = None


class _File(Settings):
    bytes: int
    sha256: str


class _Record(Settings):
    format_version: Literal[1] = FORMAT_VERSION
    items: int
    files: dict[str, _File]


@dataclass(frozen=True, eq=False)
class TableFolder:
    """place_I: int64 [I], the row of each item in the finished table. part_size: items a part."""

    folder: Path
    columns: Mapping[str, Column]
    place_I: NDArray[np.int64]
    part_size: int

    @property
    def parts(self) -> list[range]:
        """The items of each part."""
        count = len(self.place_I)
        return [range(start, min(start + self.part_size, count)) for start in range(0, count, self.part_size)]

    def is_whole(self) -> bool:
        """Whether the table is finished and every byte of it is as recorded."""
        try:
            record = _Record.model_validate_json((self.folder / RECORD_NAME).read_bytes())
        except (OSError, ValidationError):
            return False
        paths = {name: self._file(name) for name in self.columns}
        return (
            record.items == len(self.place_I)
            and record.files.keys() == paths.keys()
            and all(p.is_file() and p.stat().st_size == record.files[name].bytes for name, p in paths.items())
            and all(file_sha256(p) == record.files[name].sha256 for name, p in paths.items())
        )

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there, or not whole."""
        return [number for number in range(len(self.parts)) if not self._has(number)]

    def write(self, number: int, columns: Mapping[str, Tensor]) -> None:
        """Commits a part: its rows, item after item, with the hash of them."""
        rows = {name: columns[name].contiguous() for name in self.columns}
        atomic.write_bytes(self._part(number), save(rows, metadata={HASH_KEY: rows_sha256(rows)}))

    def finish(self) -> None:
        """Makes the table of its parts and removes them.

        Raises:
            InputError: a part is not there.
        """
        if absent := self.missing():
            raise _absent(self._part(absent[0]))
        self._record().unlink(missing_ok=True)  # no old record may ever stand beside new files
        for name in (name for name, column in self.columns.items() if column.count is None):
            self._assemble(name, {})
        counts = {name: np.fromfile(self._file(name), np.int32).astype(np.int64) for name in self._counting}
        for name in (name for name, column in self.columns.items() if column.count is not None):
            self._assemble(name, counts)
        files = {name: self._file(name) for name in self.columns}
        described = {name: _File(bytes=p.stat().st_size, sha256=file_sha256(p)) for name, p in files.items()}
        record = _Record(items=len(self.place_I), files=described)
        atomic.write_text(self._record(), record.model_dump_json(indent=1) + "\n")
        for number in range(len(self.parts)):
            self._part(number).unlink()

    def open(self) -> dict[str, Tensor]:
        """The columns of a finished table, in the asked order, mapped: what is read of them is read from the disk.

        They stay readable if the folder is removed, and writing to them changes no file.

        Raises:
            InputError: a column's file is not there.
        """
        found = {}
        for name, column in self.columns.items():
            path = self._file(name)
            if not path.is_file():
                raise _absent(path)
            size = path.stat().st_size // column.dtype.itemsize
            flat = torch.from_file(str(path), shared=False, size=size, dtype=column.dtype)
            found[name] = flat.view(-1, *column.row) if size else flat.view(0, *column.row)
        return found

    def _has(self, number: int) -> bool:
        items = self.parts[number]
        try:
            with safe_open(self._part(number), "pt") as part:
                if set(part.keys()) != self.columns.keys():
                    return False
                rows = {name: part.get_tensor(name) for name in self.columns}
                recorded = (part.metadata() or {}).get(HASH_KEY)
        except (OSError, SafetensorError):
            return False
        sizes: dict[str | None, int] = {None: len(items)}
        for name in self._counting:
            sizes[name] = int(rows[name].sum()) if bool((rows[name] >= 0).all()) else -1
        return recorded == rows_sha256(rows) and all(
            rows[name].shape == (sizes[column.count], *column.row) and rows[name].dtype == column.dtype
            for name, column in self.columns.items()
        )

    def _assemble(self, name: str, counts: Mapping[str, NDArray]) -> None:
        """Writes one column's file, item by item: mapped for writing, a large one would take memory."""
        column = self.columns[name]
        count_I = counts[column.count] if column.count is not None else np.ones(len(self.place_I), np.int64)
        size = math.prod(column.row) * column.dtype.itemsize
        byte_I = (np.cumsum(count_I) - count_I) * size  # where the rows of each item of the finished table begin
        with atomic.replacing(self._file(name)) as temporary, temporary.open("wb") as file:
            for number, items in enumerate(self.parts):
                places = self.place_I[items.start : items.stop]
                with safe_open(self._part(number), "pt") as part:
                    rows = part.get_tensor(name).split(count_I[places].tolist())
                for place, own in zip(places, rows, strict=True):
                    file.seek(byte_I[place])
                    file.write(own.numpy())

    @property
    def _counting(self) -> set[str]:
        """The columns that say how many rows an item has; int32."""
        return {column.count for column in self.columns.values() if column.count is not None}

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.safetensors"

    def _file(self, column: str) -> Path:
        return self.folder / f"{column}.bin"

    def _record(self) -> Path:
        return self.folder / RECORD_NAME


def rows_sha256(rows: Mapping[str, Tensor]) -> str:
    """Over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(f"{name} {rows[name].dtype} {tuple(rows[name].shape)}\n".encode())
        digest.update(rows[name].numpy().data)
    return digest.hexdigest()


def _absent(path: Path) -> InputError:
    return InputError(f"{path}: is not there; do all ranks see the same folder?")
