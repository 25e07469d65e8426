"""Checkpoints: a new folder each, committed by a record with hashes that is written last."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.shards import file_sha256

FORMAT_VERSION = 1
MODEL, OPTIMISER, RANDOM, TRAINER = "model.safetensors", "optimiser.pt", "random.safetensors", "trainer.json"
FILES = (MODEL, OPTIMISER, RANDOM, TRAINER)
RECORD = "commit.json"
_FOLDER = re.compile(r"step-\d{8,}")


@dataclass(frozen=True)
class Position:
    """Where a run stands: ``step`` steps done, the next batch is number ``batch`` of ``epoch``."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run continues from. ``data`` is the fingerprint of the stream that the position is a place in;
    ``scaler`` is the gradient scaler's state, empty where there is none."""

    position: Position
    data: str
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    random: RandomStates


@dataclass(frozen=True, eq=False)
class RandomStates:
    """States of every generator a run may draw from."""

    tensors: dict[str, Tensor]
    python: list[Any]
    numpy: list[Any]

    @classmethod
    def capture(cls) -> RandomStates:
        """The states now: torch (CPU and every CUDA device), Python's ``random`` and NumPy's global one."""
        tensors = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        version, numbers, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)  # what a library might draw from
        return cls(tensors, [version, list(numbers), gauss], [str(name), keys.tolist(), *rest])

    def restore(self) -> None:
        """Puts the generators back. A CUDA device that is not here is left out."""
        torch.set_rng_state(self.tensors["cpu"])
        for i in range(torch.cuda.device_count()):
            if f"cuda:{i}" in self.tensors:
                torch.cuda.set_rng_state(self.tensors[f"cuda:{i}"], i)
        version, numbers, gauss = self.python
        random.setstate((version, tuple(numbers), gauss))
        name, keys, *rest = self.numpy
        np.random.set_state((name, np.array(keys, np.uint32), *rest))


def write(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Writes a checkpoint into ``folder/step-XXXXXXXX``, commits it, and then removes all but the newest ``keep``."""
    target = folder / f"step-{checkpoint.position.step:08d}"
    if target.exists():
        _remove(target)
    target.mkdir(parents=True)
    optimiser = io.BytesIO()
    torch.save({"optimiser": checkpoint.optimiser, "scaler": checkpoint.scaler}, optimiser)
    described = {
        "position": asdict(checkpoint.position),
        "data": checkpoint.data,
        "python": checkpoint.random.python,
        "numpy": checkpoint.random.numpy,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.model.items()}
    atomic.write_bytes(target / MODEL, save(tensors))
    atomic.write_bytes(target / OPTIMISER, optimiser.getvalue())
    atomic.write_bytes(target / RANDOM, save(checkpoint.random.tensors))
    atomic.write_text(target / TRAINER, json.dumps(described))
    hashes = {name: file_sha256(target / name) for name in FILES}
    record = {"format_version": FORMAT_VERSION, "step": checkpoint.position.step, "sha256": hashes}
    atomic.write_text(target / RECORD, json.dumps(record, indent=1) + "\n")
    for old in _superseded(folder, target, keep):
        _remove(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that is not committed, or whose files are not those of its record, is passed
    over for the one before."""
    return next((candidate for candidate in reversed(_committed(folder)) if _is_whole(candidate)), None)


def read(folder: Path) -> Checkpoint:
    """Reads a checkpoint; tensors are on the CPU.

    Raises:
        InputError: the folder holds no committed checkpoint of this format version.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        raise InputError(f"{folder / RECORD}: absent or broken, so this is no committed checkpoint") from None
    if record.get("format_version") != FORMAT_VERSION:
        version = record.get("format_version")
        raise InputError(f"{folder}: checkpoint version {version!r}, this program reads {FORMAT_VERSION}")
    described = json.loads((folder / TRAINER).read_text())
    states = torch.load(folder / OPTIMISER, map_location="cpu", weights_only=True)
    return Checkpoint(
        position=Position(**described["position"]),
        data=described["data"],
        model=load_file(folder / MODEL),
        optimiser=states["optimiser"],
        scaler=states["scaler"],
        random=RandomStates(load_file(folder / RANDOM), described["python"], described["numpy"]),
    )


def _is_whole(checkpoint: Path) -> bool:
    try:
        hashes = json.loads((checkpoint / RECORD).read_text())["sha256"]
        return all(file_sha256(checkpoint / name) == hashes[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _committed(folder: Path) -> list[Path]:
    found = [path.parent for path in folder.glob(f"step-*/{RECORD}") if _FOLDER.fullmatch(path.parent.name)]
    return sorted(found, key=_step)


def _superseded(folder: Path, newest: Path, keep: int) -> list[Path]:
    """All but the ``keep`` newest up to ``newest``. What is beyond it or not committed was left by a run that died."""
    every = {path for path in folder.glob("step-*") if _FOLDER.fullmatch(path.name)}
    committed = [path for path in _committed(folder) if _step(path) <= _step(newest)]
    return sorted(every - set(committed[-keep:]))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _remove(checkpoint: Path) -> None:
    (checkpoint / RECORD).unlink(missing_ok=True)  # first: half a checkpoint must not look like one
    shutil.rmtree(checkpoint)
