"""The page of what was found: ``results.md`` and its pictures, from the findings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_specs import atomic
from pipelines.proof import plots
from pipelines.proof.experiments import MAIN, ONE_FRAME
from pipelines.proof.findings import Findings
from pipelines.proof.repetition import pairs
from pipelines.proof.scale import Scale
from pipelines.proof.work import Work

_JOURNEY = (
    "data", "manifest-first-caption", "shards", "bag-of-objects", "oracle", "text-encoder", f"pretrain-{MAIN}",
    f"retrieval-pretrain-{MAIN}", f"tune-{MAIN}", f"retrieval-tune-{MAIN}",
    "manifest-mc", f"multiple-choice-tune-{MAIN}", "manifest-qa",
    f"answer-{MAIN}", f"question-answering-answer-{MAIN}", f"question-answering-answer-{ONE_FRAME}",
)  # fmt: skip
"""Works whose commands the page shows, in their order."""
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
        journey=_JOURNEY,
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


def commands_of(works: Sequence[Work], scale: Scale, out: Path) -> dict[str, str]:
    """The command lines of a proof in ``out``: by name of the work, and where it has a seed, the first one's by the
    name without it."""
    return {work.name.removesuffix(f"-{scale.seeds[0]}"): work.shown(out) for work in works}
