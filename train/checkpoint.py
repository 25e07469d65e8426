"""Checkpoints: a new folder each, committed by a record with hashes that is written last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, Strict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_specs import atomic
from data_specs.configuration import Settings, build
from data_specs.errors import InputError
from data_specs.shards import file_sha256
from train.keeping.checkpoint_folder import RECORD, folder_of, prune, read_json, read_record, remove
from train.keeping.random_states import RandomStates

FORMAT_VERSION = 2
MODEL, EMA, OPTIMISER = "model.safetensors", "ema.safetensors", "optimiser.safetensors"
RANDOM, TRAINER = "random.json", "trainer.json"
REQUIRED = frozenset({MODEL, OPTIMISER, RANDOM, TRAINER})
_MOST_STANDING_BYTES = 1 << 24  # room for some 80,000 unreadable samples
_MOST_RANDOM_BYTES = 1 << 28  # room for 20,000 ranks
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}

Count = Annotated[int, Strict(), Field(ge=0, lt=1 << 53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Position:
    """Where a run stands: ``step`` steps done, the next batch is number ``batch`` of ``epoch``."""

    step: Count = 0
    epoch: Count = 0
    batch: Count = 0


@dataclass(frozen=True)
class Best:
    """The best validation so far: its ``metric`` (greater is better) and the step it was made at."""

    metric: Finite
    step: Count


class Standing(Settings):
    """What a checkpoint holds beside tensors and random states: ``trainer.json``.

    data: the fingerprint of the stream that the position is a place in. scaler: the gradient scaler's state, empty
    where there is none. spent: device-seconds since the run began. corrupt: how often each sample that could not be
    read was met, under the line that names it.
    """

    position: Position
    data: str
    scaler: dict[str, Annotated[int, Strict()] | Finite] = Field(default_factory=dict)
    best: Best | None = None
    spent: Annotated[Finite, Field(ge=0)] = 0.0
    corrupt: dict[str, Count] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run continues from.

    model: the state dict. optimiser: as ``optimiser.state_by_name`` gives it. random: of every rank, in order of rank.
    ema: averaged weights, empty where none are kept.
    """

    standing: Standing
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    random: tuple[RandomStates, ...]
    ema: Mapping[str, Tensor] = field(default_factory=dict)


def write(folder: Path, checkpoint: Checkpoint, keep: int, broken: Collection[Path] = ()) -> Path:
    """Writes a checkpoint into ``folder/step-XXXXXXXX``, commits it, and then removes all but the newest ``keep``.

    Raises:
        OSError: the disk does not take it; nothing of it is left.
    """
    step = checkpoint.standing.position.step
    target = folder_of(folder, step)
    if target.exists():
        remove(target)
    try:
        target.mkdir(parents=True)
        _write_files(target, checkpoint)
        hashes = {path.name: file_sha256(path) for path in sorted(target.iterdir())}
        record = {"format_version": FORMAT_VERSION, "step": step, "sha256": hashes}
        atomic.write_text(target / RECORD, json.dumps(record, indent=1) + "\n")
        _sync(folder)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)  # room for the next attempt
        raise
    prune(folder, target, keep, broken)
    return target


def read(folder: Path) -> Checkpoint:
    """Reads a checkpoint; tensors are on the CPU.

    Raises:
        InputError: the folder holds no committed checkpoint of this format version, or one that no trainer wrote.
    """
    try:
        record = read_record(folder)
    except ValueError as error:
        raise InputError(f"{folder}: no committed checkpoint: {error}") from None
    if record["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{folder}: checkpoint version {record['format_version']}, this program reads {FORMAT_VERSION}; go on with"
            " the program that wrote it, or start a new run with --set out=FOLDER"
        )
    if not REQUIRED <= record["sha256"].keys() <= REQUIRED | {EMA}:
        raise InputError(f"{folder / RECORD}: lists other files than a checkpoint has: {', '.join(record['sha256'])}")
    return Checkpoint(
        standing=_read_standing(folder / TRAINER, record["step"]),
        model=_read_tensors(folder / MODEL),
        optimiser=_read_tensors(folder / OPTIMISER),
        random=_read_random(folder / RANDOM),
        ema=_read_tensors(folder / EMA) if EMA in record["sha256"] else {},
    )


@torch.no_grad()
def load_weights(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copies a checkpoint's weights over those of a state dict; ``source`` is where they come from, for messages.

    Raises:
        InputError: they are those of another architecture; names the first tensors that differ.
    """
    expected = {name: list(tensor.shape) for name, tensor in into.items()}
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    differing = sorted(name for name in found | expected if found.get(name) != expected.get(name))
    if differing:
        shown = "; ".join(
            f"{name} is {found.get(name, 'absent')}, in the model {expected.get(name, 'absent')}"
            for name in differing[:3]
        )
        raise InputError(
            f"{source}: a checkpoint of another architecture, {len(differing)} tensors differ: {shown};"
            " take back the change of model settings, or start a new run with --set out=FOLDER"
        )
    for name, tensor in tensors.items():
        into[name].copy_(tensor)


def _write_files(target: Path, checkpoint: Checkpoint) -> None:
    sets = {MODEL: checkpoint.model, OPTIMISER: checkpoint.optimiser, EMA: checkpoint.ema}
    for name, tensors in sets.items():
        if name == EMA and not tensors:
            continue
        plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        with atomic.replacing(target / name) as temporary:
            try:
                save_file(plain, temporary)
            except SafetensorError as error:  # how it reports a full disk
                raise OSError(str(error)) from None
    atomic.write_text(target / RANDOM, json.dumps([states.to_json() for states in checkpoint.random]) + "\n")
    atomic.write_text(target / TRAINER, checkpoint.standing.model_dump_json(indent=1) + "\n")


def _read_standing(path: Path, step: int) -> Standing:
    tree = read_json(path, _MOST_STANDING_BYTES)
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {type(tree).__name__}")
    standing = build(Standing, tree, str(path))
    if standing.position.step != step:
        raise InputError(f"{path}: the position is that of step {standing.position.step}, not {step}")
    if standing.scaler and (standing.scaler.keys() != _SCALER or not standing.scaler["scale"] > 0):
        raise InputError(f"{path}: scaler is no gradient scaler's state: {str(standing.scaler)[:100]}")
    return standing


def _read_random(path: Path) -> tuple[RandomStates, ...]:
    trees = read_json(path, _MOST_RANDOM_BYTES)
    if not isinstance(trees, list) or not trees:
        raise InputError(f"{path}: expected the random states of each rank")
    try:
        return tuple(RandomStates.from_json(tree) for tree in trees)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {str(error)[:200]}") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
