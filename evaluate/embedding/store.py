"""Where vectors are kept between evaluations: a folder for each content, made by all ranks together."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs import atomic
from data_specs.errors import InputError
from evaluate.embedding.blocks import cut, share
from evaluate.embedding.table_folder import FORMAT_VERSION, Column, TableFolder
from train.distributed import Ranks

T = TypeVar("T")
BLOCKS_A_PART = 4
LOCK_NAME, LOCK_WAIT_S = ".lock", 1.0
Block = range
Make = Callable[[Sequence[Block]], Iterator[Mapping[str, Tensor]]]
"""Gives the columns of some blocks of items, one block after the other."""
Progress = Callable[[int, int], None]
"""Hears how many more items a rank has made, of how many that it is to make."""


@dataclass(frozen=True)
class Store:
    """folder: holds a folder for each content; all ``ranks`` see the same one.

    model_sha256: of the model that makes the vectors. lasting: False keeps nothing. tell: hears, on the first rank, how
    much was there already.
    """

    folder: Path
    model_sha256: str
    ranks: Ranks = field(default_factory=Ranks)
    lasting: bool = True
    tell: Callable[[str], None] = lambda line: None

    def table(
        self,
        kind: str,
        made_of: Mapping[str, object],
        columns: Mapping[str, Column],
        place_I: NDArray[np.int64],
        block_size: int,
        make: Make,
        progress: Progress,
    ) -> dict[str, Tensor]:
        """The columns of all items, in the asked order, mapped from the disk. All ranks call it alike.

        kind: of items, in the plural. made_of: what the vectors depend on beside the model. place_I: int64 [I], the row
        of each item.

        Raises:
            InputError: an item could not be read, or the folder cannot be written or is not the same for all ranks.
        """
        content = {"format": FORMAT_VERSION, "model": self.model_sha256, "kind": kind, "block": block_size, **made_of}
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        if len(set(self.ranks.gather(key))) > 1:
            raise InputError("the ranks evaluate different models, shards or manifests: give all of them the same")
        name = key if self.lasting else self.ranks.gather(uuid.uuid4().hex)[0]
        table = TableFolder(self.folder / name, columns, place_I, block_size * BLOCKS_A_PART)
        with self._alone_in(table.folder):
            missing = self.ranks.gather(self._at_first(lambda: self._missing(table, kind)))[0]
            if missing is not None:
                own = [missing[i] for i in share(len(missing), self.ranks)]
                self.ranks.agree(lambda: self._make(table, own, block_size, make, progress))
                self._at_first(table.finish)
            found = self.ranks.agree(lambda: self._open(table))
            if not self.lasting:
                self._at_first(lambda: shutil.rmtree(table.folder))
        return found

    def _missing(self, table: TableFolder, kind: str) -> list[int] | None:
        """The parts to make; None for a finished table."""
        atomic.remove_leftovers(table.folder)
        missing = None if table.is_whole() else table.missing()
        count = len(table.place_I)
        there = count - sum(len(table.parts[number]) for number in missing or ())
        if there:
            self.tell(f"{there} of {count} {kind} come from {table.folder}")
        return missing

    def _make(self, table: TableFolder, own: Sequence[int], block_size: int, make: Make, progress: Progress) -> None:
        blocks = [cut(table.parts[number], block_size) for number in own]
        count = sum(len(table.parts[number]) for number in own)
        made = make([block for part in blocks for block in part])
        for number, part in zip(own, blocks, strict=True):
            columns = []
            for block in part:
                columns.append(next(made))
                progress(len(block), count)
            with _room(table.folder):
                table.write(number, {name: torch.cat([found[name] for found in columns]) for name in table.columns})

    def _open(self, table: TableFolder) -> dict[str, Tensor]:
        with _room(table.folder):
            return table.open()

    def _at_first(self, work: Callable[[], T]) -> T | None:
        """What ``work`` gives, on the first rank; elsewhere None. An error is one on all ranks."""

        def there() -> T | None:
            with _room(self.folder):
                return work() if self.ranks.is_first else None

        return self.ranks.agree(there)

    @contextmanager
    def _alone_in(self, folder: Path) -> Iterator[None]:
        """Waits until no other evaluation makes the same table.

        The first rank asks again and again instead of waiting in the lock: the others would wait for it in one
        exchange, and an exchange has a time limit.
        """
        lock = self._at_first(lambda: self._lock_file(folder))
        told = False
        try:
            while not self.ranks.gather(self._at_first(lambda: _taken(lock)))[0]:
                if not told:
                    self.tell(f"another evaluation is making what lies in {folder}; waiting for it")
                told = True
                time.sleep(LOCK_WAIT_S)
            yield
        finally:
            if lock is not None:
                lock.close()

    def _lock_file(self, folder: Path) -> IO[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK_NAME).open("wb")


def _taken(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        raise InputError(f"{place}: vectors cannot be kept: {error.strerror}; choose another --cache FOLDER") from None
