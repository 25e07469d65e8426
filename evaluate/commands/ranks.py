"""A command as one of several ranks: ``torchrun --nproc-per-node N -m evaluate ...``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from train.distributed import Ranks, joined

EXIT_INTERRUPTED = 130


@contextmanager
def among_ranks(device: str) -> Iterator[Ranks]:
    """Joins the other ranks. What is refused is said by the first rank alone; the others end with the same exit code.

    That holds for errors on which the ranks agreed (``Ranks.agree``). Ctrl-C ends with exit code 130.
    """
    with joined(device) as ranks:
        try:
            yield ranks
        except click.ClickException as error:
            if ranks.is_first:
                raise
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            if ranks.is_first:
                click.echo("interrupted", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
