"""One writer a folder of shards: a second one is refused while the first is at work."""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from data_specs.errors import InputError
from data_specs.location import Location, is_local

LOCK_NAME = ".lock"
log = logging.getLogger(__name__)


@contextmanager
def alone_in(folder: Location) -> Iterator[None]:
    """Holds the folder for the block. Two writers would take each other's temporary files for leftovers.

    Behind a URL nothing can be held, and nothing has a temporary name.

    Raises:
        InputError: another one is at work in it.
    """
    if not is_local(folder):
        yield
        return
    with (folder / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another extraction is at work in it; wait for it or choose another --out"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            log.warning("%s: this file system knows no locks; see to it that no second run writes there", folder)
        yield
