"""The run folder: its configuration, its checkpoints' place, and the finished model."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from data_specs import atomic
from data_specs.configuration import dump, load
from data_specs.errors import InputError
from train.answering import AnsweringModel
from train.config import TrainConfig
from train.history import Learnt
from train.keeping.checkpoint_folder import latest
from train.keeping.save_error import SaveError
from train.model import RegionTextModel
from train.run.journal import METRICS_NAME

CONFIG_NAME, CHECKPOINTS, MODEL, BEST, LOCK = "config.yaml", "checkpoints", "model", "best", ".lock"
# What decides how a run goes on. Where shards and answers stand may change; what they hold is checked by fingerprints.
_FIXED = ("model", "start", "data", "loss", "answering", "optimiser", "precision", "seed")
_LENGTH = ("epochs", "max_steps")  # which a cosine's rate depends on
_MAY_MOVE = {"data": {"shards", "max_corrupt", "workers", "verify_hashes"}, "answering": {"answers"}}


def check_run(config: TrainConfig, resume: bool) -> None:
    """Whether ``config`` may run in the folder ``config.out``. Writes nothing.

    Raises:
        InputError: it is no folder, a run stands there and ``resume`` is false, or that run has come so far with other
            settings that it could not go on exactly.
    """
    path = config.out / CONFIG_NAME
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out}: is no folder; choose another with --set out=FOLDER")
    begun = any((config.out / name).exists() for name in (CHECKPOINTS, MODEL, METRICS_NAME))
    if path.exists() and (begun or resume):  # settings alone are no run: it was refused, or never came to a step
        if not resume:
            raise InputError(
                f"{config.out}: a run stands here already; go on with it with --resume, remove the folder,"
                " or choose another with --set out=FOLDER"
            )
        is_done, saved = (config.out / MODEL).exists(), latest(config.out / CHECKPOINTS)
        changed = _differences(load(TrainConfig, path), config) if is_done or saved is not None else []
        if changed:
            raise InputError(
                f"{path}: this run was started with other settings, so it cannot go on exactly: {'; '.join(changed)};"
                " take these back, or start a new run with --set out=FOLDER"
            )
        if is_done and saved is None:
            raise InputError(
                f"{config.out}: a finished run without its checkpoints: there is nothing to go on from; move it away,"
                " or choose another folder with --set out=FOLDER"
            )
    elif not path.exists() and config.out.is_dir() and any(config.out.iterdir()):
        raise InputError(f"{config.out}: holds files but no run; choose an empty or new folder with --set out=FOLDER")


def open_run(config: TrainConfig) -> IO[bytes]:
    """Makes the run folder and writes ``config.yaml``, once everything that the run needs was found. Until what it
    returns is closed, or this process ends, no other process can open the run.

    Raises:
        InputError: the folder cannot be written, or another process runs in it.
    """
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        lock = (config.out / LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        atomic.write_text(config.out / CONFIG_NAME, dump(config))
        return lock
    except BlockingIOError:
        raise InputError(
            f"{config.out}: another process is at this run; wait until it has ended, or choose another folder with"
            " --set out=FOLDER"
        ) from None
    except OSError as error:
        raise InputError(
            f"{config.out}: cannot be written: {error.strerror}; choose another with --set out=FOLDER"
        ) from None


def write_model(
    model: RegionTextModel | AnsweringModel,
    run: Path,
    name: str,
    facts: Mapping[str, object],
    history: Sequence[Learnt] = (),
) -> Path:
    """Writes the folder ``name`` of a run, whole or not at all; ``facts`` are for its card, ``history`` for it and for
    the models that start from this one. Returns it.

    Raises:
        SaveError: the disk does not take it; what stood there still does.
    """
    target = run / name
    temporary, old = (run / f".{part}{atomic.TEMPORARY_SUFFIX}" for part in (name, f"{name}.old"))
    try:
        _put_back(old, target)
        for leftover in (temporary, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        model.save_pretrained(temporary, facts, history)
        atomic.fsync_tree(temporary)
        _replace(temporary, target, old)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)  # room for the next attempt
        reason = getattr(error, "strerror", None) or str(error)
        raise SaveError(
            f"{target}: the model could not be written: {reason}; what stood there before is whole. Make room, then go"
            " on with the same command and --resume"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    return target


def _replace(temporary: Path, target: Path, old: Path) -> None:
    """Gives a finished folder its name. No call of the system does that where another has it, so that one steps aside;
    ended in between, the next ``write_model`` puts it back."""
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(temporary, target)
    finally:
        _put_back(old, target)
    atomic.fsync(target.parent)


def _put_back(old: Path, target: Path) -> None:
    if old.exists() and not target.exists():
        os.replace(old, target)


def _differences(before: TrainConfig, now: TrainConfig) -> list[str]:
    found = []
    for section in (*_FIXED, *(_LENGTH if now.optimiser.schedule == "cosine" else ())):
        left_out = _MAY_MOVE.get(section, set())
        a, b = (_flat(section, config.model_dump(mode="json")[section], left_out) for config in (before, now))
        found += [f"{name} was {a.get(name)!r}, is {b.get(name)!r}" for name in a | b if a.get(name) != b.get(name)]
    return found


def _flat(name: str, value: Any, left_out: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {f"{name}.{key}": entry for key, entry in value.items() if key not in left_out}
