"""An import with its progress bar, and every way in which it can end early as one line."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from data_specs.manifest import read_manifest
from data_specs.samples import SampleError
from data_specs.shards import ShardError
from extract.npz.importing import Imported, NpzImport, import_features
from extract.plan import Plan
from extract.processes import WorkerDiedError


def import_with_progress(
    chosen: NpzImport, manifest_path: Path, split: str | None, videos_per_shard: int, workers: int
) -> Imported:
    """Imports; see ``extract.npz.importing.import_features``.

    Raises:
        InputError: wrong input, said in one line.
        click.ClickException: stopped, or a full disk; what is committed stays.
    """
    manifest = read_manifest(manifest_path)
    plan = Plan(manifest, split, videos_per_shard)
    goes_on = f"committed shards stay in {chosen.out}; the same command goes on"
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("import-npz", total=len(plan))
            processes = min(workers, len(plan))
            return import_features(
                chosen, manifest, manifest_path, plan, processes, lambda record: progress.advance(task)
            )
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; {goes_on}") from None
    except (ShardError, SampleError, WorkerDiedError, OSError) as error:
        raise click.ClickException(f"{error}; {goes_on}") from None
