"""What the command line asks for. Imports little, so that it can still speak where a part is missing."""

from __future__ import annotations

from typing import Any

from pipelines.doctor.finding import Finding, failure
from pipelines.doctor.parts import check_parts
from pipelines.pipeline import Pipeline


def diagnose(pipeline: Pipeline, values: dict[str, Any], quick: bool) -> list[Finding]:
    """Everything that can be found out about a pipeline before it is run; ``quick``: without the measured sample.

    Raises:
        InputError: a step's arguments or configuration are wrong.
    """
    try:
        from pipelines.doctor.case import read_case
        from pipelines.doctor.examination import examine
    except ImportError as error:
        stopped = failure("parts", f"nothing else was looked at: {error}", "make setup")
        return [*check_parts(step.command[0] for step in pipeline.steps), stopped]
    return list(examine(read_case(pipeline, values), quick))
