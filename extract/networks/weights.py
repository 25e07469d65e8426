"""Weights files of detectors: safetensors, read in single precision and fitted to a network by name."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data_specs.errors import InputError

_SHOWN = 3


def load_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in single precision.

    Raises:
        InputError: not a safetensors file.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}; convert with: python -m extract convert") from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def fit_weights(model: nn.Module, path: Path, not_needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Loads a file into a network.

    not_needed: parts of names that the file may have and the network may not. optional: the other way round.

    Raises:
        InputError: tensors are missing, are too many or have another shape; the first few are named.
    """
    state = load_weights(path)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state and not _any_in(optional, name)]
    unexpected = [name for name in state if name not in wanted and not _any_in(not_needed, name)]
    shapes = [
        f"{name} {list(state[name].shape)} for {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    said = [f"{len(names)} {what}: {_first(names)}" for what, names in problems.items() if names]
    if said:
        raise InputError(f"{path}: does not fit the detector: {'; '.join(said)}")
    model.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def _any_in(parts: tuple[str, ...], name: str) -> bool:
    return any(part in name for part in parts)


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
