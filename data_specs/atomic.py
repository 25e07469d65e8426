"""Files that are either whole or absent: temporary name, fsync, rename; behind a URL: one upload of a finished file."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_specs.location import Location, fresh, is_local, store_errors

TEMPORARY_SUFFIX = ".partial"


@contextmanager
def replacing(path: Location) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    An exception removes the temporary file and leaves whatever stood at ``path`` as it was. Behind a URL the
    temporary file has no name, lies in this machine's folder for such files, and is uploaded when it is whole.
    """
    if not is_local(path):
        with tempfile.TemporaryFile() as nameless:
            temporary = Path(f"/dev/fd/{nameless.fileno()}")
            yield temporary
            _upload(temporary, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Location, data: bytes) -> None:
    """Writes ``data`` to ``path`` atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Location, text: str) -> None:
    """Writes UTF-8 ``text`` to ``path`` atomically and durably."""
    write_bytes(path, text.encode("utf-8"))


def remove_leftovers(folder: Location) -> list[Path]:
    """Removes temporary files of writers that were killed in ``folder``; returns what it removed."""
    if not is_local(folder):
        return []  # what is uploaded never has a temporary name
    leftovers = sorted(folder.glob(f".*{TEMPORARY_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return leftovers


def fsync(path: Path) -> None:
    """Has a file's bytes, or a folder's names, on the disk before anything that is done after.

    Raises:
        OSError: they are not there; a disk that was full may say so only now.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """The same of all that a folder holds, and of the folder itself."""
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def _upload(source: Path, target: Location) -> None:
    with store_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.fs.put_file(str(source), target.path)
        size, arrived = source.stat().st_size, fresh(target).fs.size(target.path)
    if arrived != size:
        raise OSError(f"{target}: {arrived} of {size} bytes arrived; is there room?")
