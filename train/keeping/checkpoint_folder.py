"""A folder of checkpoints: which of them are whole, which is the newest, and which go."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_specs.errors import InputError
from data_specs.shards import file_sha256

RECORD = "commit.json"  # written last; without it a checkpoint does not exist
_FOLDER = re.compile(r"step-\d{8,18}")
_MOST_JSON_BYTES = 1 << 20


@dataclass(frozen=True)
class Search:
    """The newest whole checkpoint, if there is one, and a line for each newer one that was passed over. ``broken`` are
    those among them that were committed: they were whole once."""

    found: Path | None = None
    passed_over: tuple[str, ...] = ()
    broken: tuple[Path, ...] = ()


def search(folder: Path) -> Search:
    """Looks for the newest whole checkpoint, from the newest folder back. One that is not committed, or whose files
    are not those of its record, is passed over for the one before.

    Raises:
        InputError: one cannot be read, which says nothing of what is in it; or some were committed and none is whole.
    """
    passed_over, broken = [], []
    for candidate in sorted(_folders(folder), key=step_of, reverse=True):
        wrong = _what_is_wrong(candidate)
        if wrong is None:
            return Search(candidate, tuple(passed_over), tuple(broken))
        passed_over.append(f"{candidate} is passed over: {wrong}")
        if (candidate / RECORD).is_file():
            broken.append(candidate)
    if broken:
        raise InputError(
            f"{folder}: no checkpoint is whole any more, so the run cannot go on: {'; '.join(passed_over)}; put back a"
            " copy of one, or start a new run with --set out=FOLDER"
        )
    return Search(None, tuple(passed_over))


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint; ``search`` also says what was passed over."""
    return search(folder).found


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of that step stands."""
    return folder / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))


def remove(checkpoint: Path) -> None:
    """Removes one."""
    (checkpoint / RECORD).unlink(missing_ok=True)  # first: half a checkpoint must not look like one
    shutil.rmtree(checkpoint)


def prune(folder: Path, newest: Path, keep: int, broken: Collection[Path] = ()) -> None:
    """Removes all but the ``keep`` newest up to ``newest``. What is beyond it or not committed was left by a run that
    died; what is ``broken`` is none to keep."""
    every = _folders(folder)
    kept = {newest, *(path for path in every - {*broken} if (path / RECORD).is_file())}
    committed = [path for path in kept if step_of(path) <= step_of(newest)]
    for old in every - set(sorted(committed, key=step_of)[-keep:]):
        remove(old)


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The commit record: ``format_version``, ``step``, and ``sha256`` of each file.

    Raises:
        ValueError: there is none, or it is not this folder's.
    """
    if not (checkpoint / RECORD).is_file():
        raise ValueError(f"{RECORD} is missing, so it was never finished")
    try:
        record = read_json(checkpoint / RECORD)
    except InputError:
        raise ValueError(f"{RECORD} is broken") from None
    hashes = record.get("sha256") if isinstance(record, dict) else None
    if not isinstance(hashes, dict) or type(record.get("format_version")) is not int:
        raise ValueError(f"{RECORD} is broken")
    if record.get("step") != step_of(checkpoint):
        raise ValueError(f"{RECORD} is that of step {record.get('step')!r}"[:80])
    if not hashes or any(Path(name).name != name for name in hashes):
        raise ValueError(f"{RECORD} does not list the files of a checkpoint")
    return record


def read_json(path: Path, most_bytes: int = _MOST_JSON_BYTES) -> Any:
    """A JSON file of a checkpoint, of at most so many bytes.

    Raises:
        InputError: it is absent, too large or no JSON.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise InputError(f"{path}: too large for what it should be")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {str(error)[:200]}") from None


def _what_is_wrong(checkpoint: Path) -> str | None:
    try:
        for name, digest in sorted(read_record(checkpoint)["sha256"].items()):
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if file_sha256(checkpoint / name) != digest:
                return f"{name} is not the file that was committed"
    except OSError as error:
        raise InputError(f"{checkpoint}: cannot be read: {error.strerror}; mend that and try again") from None
    except ValueError as error:
        return str(error)
    return None


def _folders(folder: Path) -> set[Path]:
    return {path for path in folder.glob("step-*") if _FOLDER.fullmatch(path.name) and path.is_dir()}
