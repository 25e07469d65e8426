"""``python -m evaluate question-answering``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from data_specs.shard_index import read_labels
from evaluate.commands.options import chosen, evaluation_options, tell_setting, title_of
from evaluate.commands.out_folder import begin, writing_to
from evaluate.commands.ranks import among_ranks
from evaluate.inputs import open_inputs
from evaluate.question_answering import (
    RESULT_NAME,
    TABLE_NAME,
    QuestionAnsweringOptions,
    evaluate_question_answering,
    summary,
    write_answers,
)
from evaluate.reports.question_answering import PAGE_NAME, PICTURE_NAME, write_report
from evaluate.result import QuestionAnsweringResult, QuestionGroup, counted
from train.answering import AnsweringModel
from train.device import choose_device


@click.command("question-answering")
@evaluation_options
@click.option("--batch-size", type=click.IntRange(1), help="Through the model at once, for small memories. [by tokens]")
def question_answering(
    model_folder: Path, shards: Path, manifest: Path, out: Path, media_root: Path | None,
    device: str, **settings: object,
) -> None:  # fmt: skip
    """How many open-ended questions get the right answer, to the letter, from a model that was tuned on questions.

    Every video that a question of the chosen splits asks about must be in the shards. An answer that the model's
    vocabulary does not hold counts as wrong. answers.parquet has the answer of every question, to compute the figures
    again. An earlier result in OUT is removed first.

    \b
    python -m evaluate question-answering --model runs/tune-qa/model --shards shards/msrvtt \\
        --manifest msrvtt_qa.parquet --media-root /data/msrvtt --out runs/tune-qa/report

    On several devices: torchrun --nproc-per-node 4 -m evaluate question-answering ..., with the same figures.
    """
    options = QuestionAnsweringOptions.model_validate(chosen(**settings))
    with among_ranks(device) as ranks:
        console = Console(stderr=True, quiet=not ranks.is_first)
        ranks.agree(lambda: begin(out, (RESULT_NAME, TABLE_NAME, PAGE_NAME, PICTURE_NAME)) if ranks.is_first else None)
        inputs = ranks.agree(lambda: open_inputs(model_folder, shards, manifest))
        own = ranks.agree(lambda: choose_device(device, ranks.local))
        model = ranks.agree(lambda: inputs.load(lambda folder: AnsweringModel.from_pretrained(folder, device=own)))
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("answering questions", total=None)
            found = evaluate_question_answering(
                model, inputs, out, options, ranks,
                progress=lambda done, of: bar.update(task, advance=done, total=of),
            )  # fmt: skip
        if found is not None:
            labels = read_labels(shards)
            with writing_to(out):
                write_answers(out, found)  # first: hours of work do not hang on a drawing
                page = write_report(out / PAGE_NAME, found, inputs.stored, media_root=media_root, labels=labels)
            _tell(console, found.result, page)


def _tell(console: Console, result: QuestionAnsweringResult, page: Path) -> None:
    console.print(_table(result))
    for line in _remarks(result):
        console.print(line, highlight=False, markup=False)
    tell_setting(console, result.setting)
    click.echo(summary(result))
    click.echo(f"report: {page}")


def _table(result: QuestionAnsweringResult) -> Table:
    table = Table(title=title_of(result))
    table.add_column("")
    for name in ("accuracy", "95 %", "questions", "covered"):
        table.add_column(name, justify="right", no_wrap=True)
    whole = QuestionGroup(
        name="all", questions=result.questions, covered=result.covered,
        accuracy=result.accuracy, accuracy_interval=result.accuracy_interval,
    )  # fmt: skip
    _add(table, whole, counted(result.questions, result.questions_planned))
    for title, groups in (("answer type", result.by_answer_type), ("question word", result.by_question_word)):
        table.add_section()
        for group in groups:
            _add(table, group, str(group.questions), f"{title}: ")
    return table


def _add(table: Table, group: QuestionGroup, questions: str, kind: str = "") -> None:
    low, high = group.accuracy_interval
    table.add_row(
        Text(f"{kind}{group.name}"), f"{group.accuracy:.1f}", f"{low:.1f}–{high:.1f}", questions,
        f"{100 * group.covered / group.questions:.1f} %",
    )  # fmt: skip


def _remarks(result: QuestionAnsweringResult) -> list[str]:
    said = [
        f"majority answer ({result.majority_from}): {result.majority_answer!r}, right in"
        f" {result.majority_accuracy:.1f} %"
    ]
    if result.vocabulary_shared is not None:
        said.append(
            f"the model's {result.vocabulary} answers and the manifest's are not the same:"
            f" {result.vocabulary_shared} stand in both"
        )
    return said
