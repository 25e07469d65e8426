"""The comparison page: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_specs import atomic
from evaluate.comparison.curves import charts
from evaluate.comparison.groups import Group, apart, differences
from evaluate.comparison.pairs import pairs
from evaluate.comparison.picture import picture
from evaluate.comparison.runs import Measure, Run
from evaluate.comparison.svg import drawing
from evaluate.published.figures import pretraining_cost

PAGE_NAME, PICTURE_NAME = "compare.html", "compare.png"
COST_PROTOCOL = "msrvtt/1k-A"


def write_comparison(out: Path, groups: Sequence[Group]) -> Path:
    """Writes page and picture into ``out``, each whole or not at all; returns the page's path."""
    environment = Environment(
        loader=PackageLoader("evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(PAGE_NAME).render(_context(groups))
    atomic.write_bytes(out / PICTURE_NAME, picture(groups))
    atomic.write_text(out / PAGE_NAME, html)
    return out / PAGE_NAME


def _context(groups: Sequence[Group]) -> dict[str, Any]:
    return {
        "sections": [_section(group, groups[:i]) for i, group in enumerate(groups)],
        "runs": sum(len(group.runs) for group in groups),
        "cost": pretraining_cost() if any(_is_costed(group) for group in groups) else (),
        "cost_protocol": COST_PROTOCOL,
    }


def _section(group: Group, before: Sequence[Group]) -> dict[str, Any]:
    runs = group.runs
    low, high = min(run.headline.low for run in runs), max(run.headline.high for run in runs)
    return {
        "group": group,
        "columns": list(runs[0].measures),
        "rows": [{"run": run, "strip": _strip(run.headline, low, high), "learnt": _learnt(run)} for run in runs],
        "charts": [(chart, drawing(chart)) for chart in charts(group)],
        "differ": differences(runs),
        "pairs": pairs(group),
        "apart": [", ".join(apart(group.key, other.key)) for other in _nearest(group, before)],
    }


def _is_costed(group: Group) -> bool:
    return (group.key.task, group.key.protocol) == ("retrieval", COST_PROTOCOL)


def _nearest(group: Group, before: Sequence[Group]) -> list[Group]:
    """The groups above that a reader may want to compare this one with: those of its task."""
    return [other for other in before if other.key.task == group.key.task]


def _strip(measure: Measure, low: float, high: float) -> dict[str, float]:
    """Where interval and figure lie between the lowest and the highest of the group, in percent of the strip."""
    width = max(high - low, 1e-9)
    return {
        "left": 100 * (measure.low - low) / width,
        "width": 100 * (measure.high - measure.low) / width,
        "at": 100 * (measure.value - low) / width,
    }


def _learnt(run: Run) -> str:
    """What is known of the model's past, run by run."""
    return "; then ".join(
        f"{step.steps * step.batch_size:,} clips of {'+'.join(sorted({source.dataset for source in step.sources}))}"
        f" at {step.frames} frame{'s' if step.frames != 1 else ''} × {step.regions}"
        for step in run.result.history
    )
