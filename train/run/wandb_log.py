"""Weights & Biases: the journal's values there too. An extra, which is imported only when a run asks for it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_specs import atomic
from data_specs.errors import InputError

ID_NAME = "wandb-id.txt"


class WandbLog:
    """One W&B run beside the run folder, whose id the folder keeps: a resumed run goes on in it.

    ``WANDB_MODE=offline`` writes into the folder alone, as wandb itself has it. A step that is made again after a kill
    is logged again, with the same values; curves are drawn over ``step``, so nothing moves.

    Raises:
        InputError: the package is not installed, or refuses the project or the key.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = _package()
        try:
            self._run = wandb.init(
                project=project, id=_identity(folder / ID_NAME), resume="allow", dir=str(folder), name=folder.name,
                config=dict(config),
            )  # fmt: skip
        except wandb.errors.Error as error:
            detail = " ".join(str(error).split())[:200].rstrip(".")
            raise InputError(
                f"wandb {project!r}: {detail}; log in with `wandb login`, set WANDB_MODE=offline, or leave it out with"
                " --set wandb=null"
            ) from None
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, metrics: Mapping[str, float], kind: str) -> None:
        """One line of the journal."""
        self._run.log(as_logged(metrics, kind))

    def close(self) -> None:
        """Sends what is left."""
        self._run.finish()


def as_logged(metrics: Mapping[str, float], kind: str) -> dict[str, float]:
    """Values under ``kind/name``; ``step`` and ``epoch`` stay plain, and what is not finite is left out."""
    plain = ("step", "epoch")
    return {
        name if name in plain else f"{kind}/{name}": value for name, value in metrics.items() if math.isfinite(value)
    }


def check_package(project: str | None) -> None:
    """Whether a run can log to ``project``, before anything is written.

    Raises:
        InputError: the package is not installed.
    """
    if project is not None:
        _package()


def _package() -> Any:
    try:
        import wandb
    except ImportError:
        raise InputError(
            "wandb: the package is not installed; add it with: .venv/bin/uv pip install --python .venv/bin/python"
            " -e '.[wandb]', or leave it out with --set wandb=null"
        ) from None
    return wandb


def _identity(path: Path) -> str:
    if not path.exists():
        atomic.write_text(path, uuid.uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()
