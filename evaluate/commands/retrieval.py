"""``python -m evaluate retrieval``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_specs import atomic
from data_specs.shard_index import read_labels
from evaluate import metrics
from evaluate.commands.cache import cache_options, opened_store
from evaluate.commands.options import chosen, evaluation_options, plainly, tell_setting, title_of
from evaluate.commands.out_folder import begin, writing_to
from evaluate.commands.ranks import among_ranks
from evaluate.export import RANKS_NAME, SIMILARITY_NAME, Asked, write_ranks, write_similarity
from evaluate.inputs import open_inputs
from evaluate.reports.retrieval import PAGE_NAME, PICTURE_NAME, write_report
from evaluate.result import BothWays, RetrievalResult
from evaluate.retrieval import RESULT_NAME, Retrieval, RetrievalOptions, evaluate_retrieval, summary
from train.device import choose_device
from train.model import RegionTextModel

BESIDE = (PAGE_NAME, PICTURE_NAME, SIMILARITY_NAME, RANKS_NAME)
_FACTS = {"protocol", "splits", "setting", "missing", "score", "ties", "model_sha256", "manifest_sha256", "shards"}


@click.command()
@evaluation_options
@cache_options
@click.option("--queries", type=click.Choice(["first", "all"]), help="Captions that ask. [as the protocol says]")
@click.option("--batch-size", type=click.IntRange(1), help="Through the model at once, for small memories. [by tokens]")
@click.option("--figures-only", is_flag=True, help="Only retrieval.json: no page, no tables of scores and ranks.")
@click.option("--dual-softmax", is_flag=True, help="Also rank after a softmax over all queries; reported apart.")
def retrieval(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, cache: Path | None, no_cache: bool, figures_only: bool, **settings: object,
) -> None:  # fmt: skip
    """Text-to-video and video-to-text retrieval: R@1, R@5, R@10, median and mean rank.

    Every video of the chosen splits must be in the shards: a figure over fewer candidates belongs to another protocol.
    Ties count with their expected rank, so a model that scores all pairs alike gets what chance gets. An earlier
    result in OUT is removed first, so that none stands beside a refusal. Scores and ranks are written as Parquet
    (columns: evaluate/export.py), so that the figures can be recomputed.

    \b
    python -m evaluate retrieval --model runs/tune/model --shards shards/msrvtt \\
        --manifest msrvtt.parquet --media-root /data/msrvtt --out runs/tune/report

    On several devices: torchrun --nproc-per-node 4 -m evaluate retrieval ..., with the same figures.
    """
    options = RetrievalOptions.model_validate(chosen(**settings))
    with among_ranks(device) as ranks:
        console = Console(stderr=True, quiet=not ranks.is_first)
        ranks.agree(lambda: begin(out, (RESULT_NAME, *BESIDE)) if ranks.is_first else None)
        inputs = ranks.agree(lambda: open_inputs(model_folder, shards, manifest))
        own = ranks.agree(lambda: choose_device(device, ranks.local))
        model = ranks.agree(lambda: inputs.load(lambda folder: RegionTextModel.from_pretrained(folder, device=own)))
        with (
            Progress(console=console, transient=True) as bar,
            opened_store("retrieval", out, cache, no_cache, inputs.model_sha256, ranks, plainly(bar.console)) as store,
        ):
            task = bar.add_task("embedding videos", total=None)
            found = evaluate_retrieval(
                model, inputs, out, options, store,
                progress=lambda done, of: bar.update(task, advance=done, total=of),
            )  # fmt: skip
        if found is not None:
            with writing_to(out):
                if not figures_only:
                    _write_tables(out, found)
                atomic.write_text(out / RESULT_NAME, found.result.model_dump_json(indent=1) + "\n")
                _tell(console, found.result)
                if not figures_only:  # the page comes last: hours of work do not hang on a drawing
                    labels = read_labels(shards)
                    page = write_report(out / PAGE_NAME, found, model.loss, media_root=media_root, labels=labels)
                    click.echo(f"report: {page}")


def _write_tables(out: Path, found: Retrieval) -> None:
    asked = Asked(found.plan.ids, found.plan.sentences, found.plan.owner_C, found.texts.row_C)
    facts = found.result.model_dump(mode="json", include=_FACTS)
    write_similarity(out / SIMILARITY_NAME, found.scores, asked, facts)
    write_ranks(out / RANKS_NAME, found.scores, asked, found.by_sentence, found.by_video, facts)


def _tell(console: Console, result: RetrievalResult) -> None:
    console.print(_table(result))
    tell_setting(console, result.setting)
    click.echo(summary(result))


def _table(result: RetrievalResult) -> Table:
    table = Table(title=title_of(result))
    for name in ("", *metrics.FIGURES):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    _add(table, result)
    for title, part in (
        ("global alone", result.global_alone),
        ("local alone", result.local_alone),
        ("dual softmax", result.dual_softmax),
    ):
        if part is not None:
            table.add_section()
            table.add_row(title, style="bold")
            _add(table, part)
    return table


def _add(table: Table, ways: BothWays | RetrievalResult) -> None:
    for title, direction in (("text to video", ways.text_to_video), ("video to text", ways.video_to_text)):
        table.add_row(title, *(f"{direction.figures[name]:.1f}" for name in metrics.FIGURES))
        bounds = [(direction.intervals[name], 1 if name in ("MedR", "MeanR") else 0) for name in metrics.FIGURES]
        table.add_row("  95 %", *(f"{low:.{n}f}–{high:.{n}f}" for (low, high), n in bounds), style="dim")
        if isinstance(ways, RetrievalResult):  # of the others it is the same
            table.add_row("  chance", *(f"{direction.chance[name]:.1f}" for name in metrics.FIGURES), style="dim")
