"""Options that every task has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from data_specs.manifest import SPLITS
from evaluate.result import Evaluation, counted
from evaluate.setting import WORDS, Setting

EXISTING = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--model", "model_folder", type=EXISTING, required=True, help="A run's model/ folder."),
    click.option("--shards", type=EXISTING, required=True, help="Folder of region shards (python -m extract run)."),
    click.option("--manifest", type=EXISTING, required=True, help="Manifest that says what must be there."),
    click.option("--out", type=EXISTING, required=True, help="Folder for the result, its page and its tables."),
    click.option(
        "--split", "splits", multiple=True, metavar="|".join(SPLITS),
        help="Split to evaluate; repeat for several. [test]",
    ),
    click.option("--frames", type=click.IntRange(1), help="Frames a video. [as many as model and shards have]"),
    click.option("--regions", type=click.IntRange(1), help="Regions a frame. [as many as model and shards have]"),
    click.option("--allow-missing", is_flag=True, help="Go on without missing videos, and say 9/10 everywhere."),
    click.option(
        "--setting", type=click.Choice(["zero-shot", "tuned"]),
        help="Whether the model learnt from this data set, where its history does not tell.",
    ),
    click.option("--media-root", type=FOLDER, help="Where the media are, for the page's frames."),
    click.option("--note", default="", help="A remark for the top of the page."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda; a torch device."),
)  # fmt: skip


def evaluation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every task has, in their order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(**given: Any) -> dict[str, Any]:
    """What was given, as ``EvaluationOptions`` takes it: without splits the task's own default holds."""
    return {name: value for name, value in given.items() if name != "splits" or value}


def title_of(result: Evaluation) -> Text:
    """What stands over a result's table. Names come from data: nothing in them is markup."""
    videos = counted(result.videos, result.videos_planned)
    return Text(f"{result.protocol}, split {'+'.join(result.splits)}, {result.setting}, {videos} videos")


def plainly(console: Console) -> Callable[[str], None]:
    """Prints lines as they are."""
    return lambda line: console.print(line, highlight=False, markup=False)


def tell_setting(console: Console, setting: Setting) -> None:
    """Warns where the figures may not mean what they seem to: loudly where the model has learnt what it is asked."""
    if setting == "seen":
        console.print(f"WARNING: {WORDS[setting]}", style="bold red", highlight=False)
    elif setting == "unknown":
        console.print(f"setting unknown: {WORDS[setting]}", highlight=False)
    elif setting == "other-protocol":
        console.print(f"WARNING: {WORDS[setting]}", style="yellow", highlight=False)
