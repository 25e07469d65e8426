"""``python -m data_specs``: list and show data sets, build manifests, make the shapes data set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from data_specs import describe
from data_specs.annotations import answers
from data_specs.annotations.folder import FolderOptions
from data_specs.build import build_manifest
from data_specs.check import check_media
from data_specs.errors import InputError
from data_specs.manifest import SPLITS, read_manifest
from data_specs.media_report import fault_lines, found_table
from data_specs.shapes.generate import LAYOUTS, generate
from data_specs.spec import load_spec, spec_names


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
    console().print(describe.overview(map(load_spec, spec_names())))


@main.command("show")
@click.argument("name")
def show_command(name: str) -> None:
    """Shows what a data set needs before anything is downloaded: what goes where, how much, and the next commands.

    NAME is one that `list` names, or the path of a YAML of your own (docs/data-sets.md).

    \b
    Example:
      python -m data_specs show msrvtt
    """
    console().print(describe.page(load_spec(name), name), highlight=False)


@main.command("build")
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Manifest to write (.parquet).")
@click.option("--protocol", help="One of those that `show NAME` lists; the default one if not given.")
@click.option("--clip-seconds", type=float, help="Of `folder`: cut videos into clips of this length.")
@click.option("--split-all", type=click.Choice(SPLITS), help="Of `folder`: put everything into this split.")
def build_command(
    name: str, root: Path, out: Path, protocol: str | None, clip_seconds: float | None, split_all: str | None
) -> None:
    """Reads a data set's annotation files and writes its manifest, one row a video or image.

    NAME is one that `list` names, or the path of a YAML of your own (docs/data-sets.md).

    \b
    Example:
      python -m data_specs build msrvtt --root data/msrvtt --protocol 1k-A --out msrvtt.parquet
    """
    if clip_seconds is None and split_all is None:
        built = build_manifest(name, root, out, protocol)
    else:
        with _progress("measuring videos") as report:
            options = FolderOptions(clip_seconds, split_all, progress=report)
            built = build_manifest(name, root, out, protocol, options)
    console().print(describe.counts(built))
    for line in describe.findings(built):
        console().print(line, highlight=False, markup=False)
    click.echo(f"wrote {out}")


@main.command("answers")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--most-frequent", type=click.IntRange(1), required=True, help="How many answers to keep.")
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    default=("train",),
    show_default=True,
    help="Split whose answers are counted; repeat for several.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write: one answer a line, or .json.",
)
def answers_command(manifest: Path, most_frequent: int, splits: tuple[str, ...], out: Path) -> None:
    """Counts the answers of open-ended questions and writes the most frequent ones: a vocabulary to train with.

    Equally frequent answers stand in the order of their text. A question whose answer is none of them counts as wrong.

    \b
    Example:
      python -m data_specs answers mine.parquet --most-frequent 1000 --out answers.txt
    """
    items = read_manifest(manifest)
    asked = [
        item for item in items.take(row for split in set(splits) for row in items.rows_of(split)) if item.questions
    ]
    vocabulary = answers.most_frequent(answers.open_answers(asked), most_frequent)
    if not vocabulary:
        raise InputError(
            f"{manifest}: no open-ended question in split {'+'.join(splits)}, so there is nothing to count"
        )
    try:
        answers.write_vocabulary(out, vocabulary)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}; choose another --out") from None
    shares = answers.coverage(answers.labelled((item for item in items if item.questions), vocabulary))
    for split, share in shares.items():
        click.echo(f"{share.percent:.1f} % of {split} ({share.covered:,} of {share.asked:,} questions) are covered")
    click.echo(f"wrote {out}: {len(vocabulary):,} answers")


@main.command("check")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Folder that the paths start from.")
@click.option("--probe", "probing", is_flag=True, help="Also open every file in ffprobe (much slower).")
@click.option(
    "--threads", type=click.IntRange(1), help="Files at a time; default: 2, with --probe the processor's cores."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the faulty ids and their reasons to this .jsonl.")
def check_command(manifest: Path, root: Path, probing: bool, threads: int | None, out: Path | None) -> None:
    """Looks for the media of a manifest: what is there, missing, empty or unreadable. Exit code 1 unless all is there.

    \b
    Example:
      python -m data_specs check msrvtt.parquet --root data/msrvtt --probe --out missing.jsonl
    """
    items = read_manifest(manifest)
    with _progress("probing files" if probing else "looking at files") as report:
        checked = check_media(items, root, probing=probing, threads=threads, progress=report)
    console().print(found_table(checked, manifest, probing))
    if out is None:
        for line in fault_lines(checked, shown=10):
            click.echo(line)
    else:
        checked.write(out)
        click.echo(f"wrote {out}: {checked.num_faults:,} ids")
    sys.exit(1 if checked.num_faults else 0)


@main.command("make-shapes")
@click.option("--videos", type=click.IntRange(min=3), help="How many clips (3 s, 192x144, 10 fps); 3 of 5 train.")
@click.option("--split", "splits", multiple=True, metavar="NAME=CLIPS", help="Instead: how many of a split; repeat it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same clips.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="native", show_default=True, help="Annotation files.")
@click.option("--families", is_flag=True, help="Harder: four clips show the same things, two of them backwards.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes; 0: this one.")
def make_shapes_command(
    videos: int | None, splits: tuple[str, ...], seed: int, out: Path, layout: str, families: bool, workers: int
) -> None:
    """Makes clips of moving coloured shapes with captions, questions, choices and true boxes (COCO JSON).

    With --layout msrvtt the annotation files have MSR-VTT's names and forms, so that they build as msrvtt.

    \b
    Example:
      python -m data_specs make-shapes --videos 100 --seed 0 --out data/shapes
      python -m data_specs build shapes --root data/shapes --out shapes.parquet
      python -m data_specs make-shapes --split train=400 --split test=100 --families --workers 2 --out data/families
    """
    if (videos is None) == (not splits):
        raise click.UsageError("say how many clips: --videos N, or --split NAME=N once or several times")
    asked = dict(_split_size(text) for text in splits) or None
    with _progress("making clips") as report:
        clips = generate(
            out, videos or sum((asked or {}).values()), seed, layout, asked, families, workers, progress=report
        )
    found = Counter(clip.scene.split for clip in clips)
    counts = ", ".join(f"{count} {split}" for split, count in found.items())
    click.echo(f"wrote {len(clips)} clips ({counts}) to {out}")


def _split_size(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not count.isdecimal():
        raise click.UsageError(f"--split {text}: expected NAME=CLIPS, for example train=400")
    return name, int(count)


@contextmanager
def _progress(about: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error from the first report on; yields what is to be told (done, total)."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True))

    def report(done: int, total: int) -> None:
        if not progress.task_ids:
            progress.add_task(about)
            progress.start()
        progress.update(progress.task_ids[0], completed=done, total=total)

    try:
        yield report
    finally:
        if progress.task_ids:
            progress.stop()


def console() -> Console:
    """A console as wide as the terminal; where output goes elsewhere, 160 columns wide."""
    found = Console()
    return found if found.is_terminal else Console(width=160)


if __name__ == "__main__":
    main(prog_name="python -m data_specs")
