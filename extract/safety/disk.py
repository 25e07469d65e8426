"""A full disk said as what it is: nothing of the program is wrong, and it goes on when there is room."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from data_specs.location import Location
from data_specs.shards import ShardError


@contextmanager
def full_disk_said(folder: Location) -> Iterator[None]:
    """Turns the system's error into one line that names the folder.

    Raises:
        ShardError: no room was left while ``folder`` was written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ShardError(f"{folder}: no room is left there; free some") from None
        raise
