"""Where a command keeps vectors: ``--cache`` and ``--no-cache``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from evaluate.commands.ranks import EXIT_INTERRUPTED
from evaluate.embedding.store import Store
from train.distributed import Ranks

KEPT_NAME = "embeddings"
_OPTIONS = (
    click.option(
        "--cache", type=click.Path(path_type=Path), metavar="FOLDER",
        help="Where vectors are kept, by what they depend on; several evaluations may share it. [OUT/embeddings]",
    ),
    click.option("--no-cache", is_flag=True, help="Keep no vectors; while it runs they lie in OUT."),
)  # fmt: skip


def cache_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--cache`` and ``--no-cache``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def opened_store(
    command: str,
    out: Path,
    cache: Path | None,
    no_cache: bool,
    model_sha256: str,
    ranks: Ranks,
    tell: Callable[[str], None],
) -> Iterator[Store]:
    """The store of a command that writes to ``out``. Ctrl-C says what is kept and ends with exit code 130.

    Raises:
        click.UsageError: both options are given.
    """
    if cache is not None and no_cache:
        raise click.UsageError("--cache keeps vectors, --no-cache does not: give one of them")
    # Another command may write to the same place at the same time: each has its own temporary folder.
    folder = out / f".{KEPT_NAME}-{command}" if no_cache else cache or out / KEPT_NAME
    if no_cache and ranks.is_first:
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        yield Store(folder, model_sha256, ranks, lasting=not no_cache, tell=tell)
    except KeyboardInterrupt:
        if ranks.is_first:
            kept = "nothing is kept" if no_cache else f"the same command goes on from what lies in {folder}"
            click.echo(f"interrupted; {kept}", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        if no_cache and ranks.is_first:
            shutil.rmtree(folder, ignore_errors=True)
