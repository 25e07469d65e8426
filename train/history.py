"""What a model has learnt from, run by run: kept in its folder and carried along to every model that starts from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError

HISTORY_NAME = "history.json"
FORMAT_VERSION = 1


class LearntFrom(Settings):
    """A folder of shards: the data set's name and the protocol (``1k-A``; empty: it has none) by which its clips were
    split, the manifest it was extracted by, and the splits that were taken."""

    dataset: str
    protocol: str = ""
    manifest_sha256: str
    splits: tuple[str, ...]


class Learnt(Settings):
    """One run. frames, regions: drawn of each clip. batch_size: clips a step, over all ranks."""

    objective: Literal["contrastive", "answering"]
    sources: tuple[LearntFrom, ...]
    frames: int
    regions: int
    steps: int
    batch_size: int


class _History(Settings):
    format_version: Literal[1] = FORMAT_VERSION
    runs: tuple[Learnt, ...]


def read_history(folder: Path) -> tuple[Learnt, ...]:
    """The runs that made the model in ``folder``, the first one first; () where nothing is known of them.

    Raises:
        InputError: the file is not a history.
    """
    path = folder / HISTORY_NAME
    try:
        return _History.model_validate_json(path.read_bytes()).runs
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: not a model's history: {reason}; remove it, and the model's is unknown") from None


def write_history(folder: Path, runs: tuple[Learnt, ...]) -> None:
    """Writes the runs that made a model, the first one first."""
    atomic.write_text(folder / HISTORY_NAME, _History(runs=runs).model_dump_json(indent=1) + "\n")
