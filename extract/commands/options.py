"""What several commands ask for in the same way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from data_specs.location import Location, is_local, location


class FolderOrUrl(click.ParamType):
    """A local folder, there or not, or the URL of one."""

    name = "folder or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        """The folder as ``data_specs.location.location`` has it."""
        found = location(value)
        if is_local(found) and found.is_file():
            self.fail(f"{value} is a file", param, ctx)
        return found


FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

shards_argument = click.argument("folder", type=FolderOrUrl(), metavar="SHARDS")
manifest_option = click.option("--manifest", type=FILE, required=True, help="From `python -m data_specs build`.")
root_option = click.option(
    "--root", type=FOLDER, required=True, help="The media root that the manifest's paths start from."
)
split_option = click.option("--split", help="Only this split (train, val, test); default: all.")
json_option = click.option("--json", "as_json", type=FILE, help="Also write everything to this JSON file.")
processes_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    show_default="one a core",
    help="Processes that read shards at a time.",
)
