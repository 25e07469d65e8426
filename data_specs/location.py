"""Where shards stand: a folder of this machine, or any URL that fsspec knows (``s3://bucket/prefix``, ``gs://...``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from upath import UPath

from data_specs.errors import InputError

Location = Path | UPath


def location(given: str | Path | UPath) -> Location:
    """A local path as ``Path``, a URL as ``UPath``; both have the methods of ``pathlib.Path``.

    Raises:
        InputError: a URL of a kind that fsspec does not know, or whose package is not installed.
    """
    text = str(given)
    if isinstance(given, Path) or "://" not in text:
        return Path(text)
    try:
        found = UPath(given)
        _ = found.fs
    except (ValueError, ImportError) as error:
        raise InputError(f"{text}: not a URL that can be reached: {error}") from None
    return Path(found.path) if found.protocol in ("file", "local") else found


def is_local(folder: Location) -> bool:
    """False for what is reached through fsspec: it has no locks, no renames that are atomic, and no permissions."""
    return isinstance(folder, Path)


def fresh(folder: Location) -> Location:
    """The folder as it is now: file systems behind URLs remember what they have listed before."""
    if not is_local(folder):
        folder.fs.invalidate_cache()
    return folder


@contextmanager
def store_errors(folder: Location) -> Iterator[None]:
    """Behind a URL, turns whatever its package raises (no credentials, no such bucket) into one kind of error.

    Raises:
        OSError: naming the URL and what its package says.
    """
    try:
        yield
    except Exception as error:
        if is_local(folder) or isinstance(error, (OSError, InputError)):
            raise
        raise OSError(f"{folder}: {type(error).__name__}: {error}") from error


AnyLocation = Annotated[Any, BeforeValidator(location), PlainSerializer(str)]
"""A setting that is a local path or a URL; see ``location``."""
