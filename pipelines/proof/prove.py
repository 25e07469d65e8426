"""The proof from beginning to end: work, findings, page."""

from __future__ import annotations

import platform
import signal
from pathlib import Path

import click

from pipelines.proof.findings import Findings, Reader
from pipelines.proof.journey import Journey
from pipelines.proof.layout import Layout
from pipelines.proof.page import PICTURES, commands_of, write_page
from pipelines.proof.repetition import pairs, read_repetition
from pipelines.proof.scale import Scale
from pipelines.proof.scheduler import Scheduler, core_minutes

EXIT_SHORT, EXIT_INTERRUPTED = 1, 130
REMARKS_NAME, AGAIN_NAME = "remarks.md", "again.json"


def prove(scale: Scale, out: Path, docs: Path | None, cores: int, despite_new_code: bool) -> int:
    """Does what is not done, writes the page to ``docs`` (by default below ``out``), and says what holds.

    Returns the exit code: 0, or 1 where a promise does not hold. Of the folder ``results`` in ``docs`` the page takes
    up ``again.json``, the ``results.json`` of a run with other seeds, and ``remarks.md``, which a person writes.

    Raises:
        InputError: ``again.json`` is not of such a run.
        WorkFailed: a piece of work ended badly.
    """
    at = Layout(out.resolve())
    docs = docs or at.out / "docs"
    again_path, remarks_path = docs / PICTURES / AGAIN_NAME, docs / PICTURES / REMARKS_NAME
    again = read_repetition(again_path, scale) if again_path.is_file() else None
    works = Journey(scale, at, cores).works()
    scheduler = Scheduler(at, cores, with_code=not despite_new_code)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is told to stop then, too
    try:
        made = scheduler.run(works)
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is done stays in {out}, and the same command goes on", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    click.echo(f"{out}: {made} of {len(works)} steps were made, the others were there")
    found = Reader(at, scale).findings(_machine(cores), core_minutes(at, works))
    remarks = remarks_path.read_text(encoding="utf-8") if remarks_path.is_file() else ""
    page = write_page(docs, found, commands_of(works, at.out), remarks, again)
    _tell(found, again)
    click.echo(f"page: {page}")
    return 0 if all(check.holds for check in found.checks) else EXIT_SHORT


def _tell(found: Findings, again: Findings | None) -> None:
    for check in found.checks:
        sign = "holds" if check.holds else "DOES NOT HOLD"
        click.echo(f"{sign}: {check.promise}: {check.found} {check.unit} of {check.needed:.1f} needed")
    for curve in found.curves:
        click.echo(f"{curve.title}: {curve.difference} points, {curve.verdict}")
    if again is not None:
        compared = pairs(found, again)
        meet, seeds = sum(pair.meet for pair in compared), ", ".join(map(str, again.scale.seeds))
        click.echo(f"beside seeds {seeds}: the intervals of {meet} of {len(compared)} figures meet")


def _machine(cores: int) -> str:
    return f"{cores} cores ({platform.machine()}, {platform.system()})"
