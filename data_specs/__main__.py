"""``python -m data_specs``: list and show data sets, build manifests, make the shapes data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Column, Table

from data_specs.build import Built, build_manifest
from data_specs.shapes.generate import LAYOUTS, generate
from data_specs.spec import load_spec, spec_names

_QUERIES = {"first": "first caption", "all": "all captions"}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """What the data is: data sets, their annotation files, and the manifest made from them.

    \b
    Example, without any download:
      python -m data_specs make-shapes --videos 20 --out data/shapes
      python -m data_specs build shapes --root data/shapes --out shapes.parquet
    """


@main.command("list")
def list_command() -> None:
    """Names the data sets this program knows.

    \b
    Example:
      python -m data_specs list
    """
    table = Table("name", "what", "protocols (first: default)", box=None)
    for name in spec_names():
        spec = load_spec(name)
        others = [protocol for protocol in spec.protocols if protocol != spec.default_protocol]
        table.add_row(name, spec.title, ", ".join([spec.default_protocol, *others]))
    _console().print(table)


@main.command("show")
@click.argument("name")
def show_command(name: str) -> None:
    """Shows what a data set needs before anything is downloaded: files, places, splits, protocols, licence.

    \b
    Example:
      python -m data_specs show msrvtt
    """
    spec, console = load_spec(name), _console()
    console.print(f"[bold]{spec.name}[/bold]: {spec.title}", highlight=False)
    for label, text in (("size", spec.size), ("source", spec.source), ("licence", spec.licence)):
        console.print(f"[bold]{label}[/bold]: {text}", highlight=False)
    console.print("[bold]media[/bold], below the root: " + " or ".join(spec.media_paths), highlight=False)
    place = Column("place below the root (or)", overflow="fold", ratio=3)
    origin = Column("where it comes from", ratio=2)
    files = Table("file", place, Column("what it is", ratio=2), origin, title="Annotation files", show_lines=True)
    for role, file in spec.files.items():
        files.add_row(role, "\n".join(file.places), file.what, file.origin)
    console.print(files)
    protocols = Table("protocol", "split", "videos", "queries", "files", "optional questions", title="Protocols")
    for protocol_name, protocol in spec.protocols.items():
        default = " (default)" if protocol_name == spec.default_protocol else ""
        for split_name, split in protocol.splits.items():
            videos = "any" if split.videos is None else f"{split.videos:,}"
            queries = "the chosen caption" if split.choice else _QUERIES[protocol.queries]
            needed = ", ".join(("captions", *split.files, *split.choice) if "captions" in spec.files else split.files)
            protocols.add_row(
                f"{name}/{protocol_name}{default}", split_name, videos, queries, needed, ", ".join(split.questions)
            )
    console.print(protocols)
    for protocol_name, protocol in spec.protocols.items():
        text = f"[bold]{name}/{protocol_name}[/bold]: {protocol.title}. {protocol.notes}"
        console.print(text.strip(), highlight=False)


@main.command("build")
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Manifest to write (.parquet).")
@click.option("--protocol", help="One of those that `show NAME` lists; the default one if not given.")
def build_command(name: str, root: Path, out: Path, protocol: str | None) -> None:
    """Reads a data set's annotation files and writes its manifest, one row a video or image.

    \b
    Example:
      python -m data_specs build msrvtt --root data/msrvtt --protocol 1k-A --out msrvtt.parquet
    """
    built = build_manifest(name, root, out, protocol)
    console = _console()
    console.print(_counts(built))
    for role in built.absent:
        console.print(f"optional file {role} is not there: {load_spec(name).files[role].places[0]}", highlight=False)
    for role, count in built.left_out.items():
        console.print(f"{count:,} questions of {role} are about videos outside this split", highlight=False)
    click.echo(f"wrote {out}")


@main.command("make-shapes")
@click.option("--videos", type=click.IntRange(min=3), required=True, help="How many clips (3 s, 192x144, 10 fps).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same clips.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="native", show_default=True, help="Annotation files.")
def make_shapes_command(videos: int, seed: int, out: Path, layout: str) -> None:
    """Makes clips of moving coloured shapes with captions, questions, choices and true boxes (COCO JSON).

    With --layout msrvtt the annotation files have MSR-VTT's names and forms, so that they build as msrvtt.

    \b
    Example:
      python -m data_specs make-shapes --videos 100 --seed 0 --out data/shapes
      python -m data_specs build shapes --root data/shapes --out shapes.parquet
    """
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("making clips", total=videos)
        clips = generate(out, videos, seed, layout, progress=lambda done, _: progress.update(task, completed=done))
    splits = Counter(clip.scene.split for clip in clips)
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    click.echo(f"wrote {len(clips)} clips ({counts}) to {out}")


def _counts(built: Built) -> Table:
    manifest = built.manifest
    table = Table("split", "rows", "expected", "captions", "questions", "multiple choice", title=manifest.info.protocol)
    totals: dict[str, Counter[str]] = {}
    for item in manifest:
        choices = sum(bool(question.options) for question in item.questions)
        found = {"rows": 1, "captions": len(item.captions), "choices": choices}
        totals.setdefault(item.split, Counter()).update(found | {"questions": len(item.questions) - choices})
    for split, count in totals.items():
        expected = built.protocol.splits[split].videos  # type: ignore[index]
        numbers = [f"{count[name]:,}" for name in ("captions", "questions", "choices")]
        table.add_row(split, f"{count['rows']:,}", "any" if expected is None else f"{expected:,}", *numbers)
    return table


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=160)


if __name__ == "__main__":
    main(prog_name="python -m data_specs")
