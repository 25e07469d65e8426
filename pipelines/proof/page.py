"""The page of what was found: ``results.md`` and its pictures, from the findings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_specs import atomic
from pipelines.proof import plots
from pipelines.proof.experiments import CURVES, MAIN, ONE_FRAME
from pipelines.proof.findings import Findings
from pipelines.proof.repetition import pairs
from pipelines.proof.work import Work

PAGE_NAME, FINDINGS_NAME, PICTURES = "results.md", "results.json", "results"


def write_page(
    docs: Path, found: Findings, commands: Mapping[str, str], remarks: str = "", again: Findings | None = None
) -> Path:
    """Writes the page, its pictures in ``results/`` beside it, and the figures as JSON there.

    commands: see ``commands_of``. remarks: Markdown that a person wrote, for the page's end.
    again: of a run with other seeds, which the page compares.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=False
    )
    text = environment.get_template("results.md.j2").render(
        f=found,
        commands=commands,
        journey=_journey(found.scale.seeds[0]),
        compared={curve.name: curve.compared for curve in CURVES},
        remarks=remarks,
        again=again,
        pairs=pairs(found, again) if again else [],
    )
    pictures = docs / PICTURES
    atomic.write_bytes(pictures / "ladder.png", plots.ladder(found))
    if found.curves:
        atomic.write_bytes(pictures / "curves.png", plots.curves(found))
    atomic.write_text(pictures / FINDINGS_NAME, found.model_dump_json(indent=1) + "\n")
    atomic.write_text(docs / PAGE_NAME, text.rstrip() + "\n")
    return docs / PAGE_NAME


def commands_of(works: Sequence[Work], out: Path) -> dict[str, str]:
    """The command lines of a proof in ``out``, by the work's name."""
    return {work.name: work.shown(out) for work in works}


def _journey(seed: int) -> tuple[str, ...]:
    """Names of the works of the journey, in their order."""
    trained = (
        f"pretrain-{MAIN}", f"retrieval-pretrain-{MAIN}", f"tune-{MAIN}", f"retrieval-tune-{MAIN}",
        f"multiple-choice-tune-{MAIN}", f"answer-{MAIN}", f"question-answering-answer-{MAIN}", f"tune-{ONE_FRAME}",
        f"answer-{ONE_FRAME}", f"question-answering-answer-{ONE_FRAME}",
    )  # fmt: skip
    made = ("data", "manifest-first-caption", "manifest-mc", "manifest-qa", "shards", "text-encoder")
    return *made, "oracle", "bag-of-objects", *(f"{name}-{seed}" for name in trained)
