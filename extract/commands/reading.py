"""A progress bar over the shards of a folder, and every way in which reading them can end as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_specs.errors import InputError
from data_specs.location import Location
from data_specs.samples import SampleError
from data_specs.shards import ShardError, record_paths
from extract.processes import WorkerDiedError


@contextmanager
def reading(what: str, folder: Location, if_stopped: str = "nothing was changed") -> Iterator[Callable[[], None]]:
    """Yields what is called after each shard. if_stopped: what Ctrl-C says of what there is then.

    Raises:
        InputError: a file may not be read or written.
        click.ClickException: a shard is broken, or the reading was stopped.
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("shards"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=len(record_paths(folder)))
            yield lambda: progress.advance(task)
    except KeyboardInterrupt:
        raise click.ClickException(f"{what} of {folder} was stopped; {if_stopped}") from None
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror or error}") from None
    except (ShardError, SampleError, WorkerDiedError) as error:
        raise click.ClickException(str(error)) from None
