"""The folder that a command writes its result to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_specs.errors import InputError


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turns what a disk refuses into one line.

    Raises:
        InputError: ``out`` cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or out}: cannot be written: {error.strerror}; check --out") from None


def begin(out: Path, names: Sequence[str]) -> None:
    """Removes what an earlier evaluation left under these names, the result first.

    A command does so before it looks at anything else: whatever it is refused for, or if it fails, no figures of
    another model or protocol stand where its own are looked for.

    Raises:
        InputError: ``out`` cannot be written.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            (out / name).unlink(missing_ok=True)
