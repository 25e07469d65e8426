"""A command as one of several ranks: ``torchrun --nproc-per-node N -m evaluate ...``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from train.distributed import Ranks, joined


@contextmanager
def among_ranks(device: str) -> Iterator[Ranks]:
    """Joins the other ranks. What is refused is said by the first rank alone; the others end with the same exit code.

    That holds for errors on which the ranks agreed (``Ranks.agree``).
    """
    with joined(device) as ranks:
        try:
            yield ranks
        except click.ClickException as error:
            if ranks.is_first:
                raise
            raise SystemExit(error.exit_code) from None
