"""An average of the weights over the steps: steadier than the last ones, and what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from train.checkpoint import load_weights


class Ema:
    """``ema = decay * ema + (1 - decay) * weights`` after each step, from the weights at the start.

    Floating-point weights are averaged; what else a state dict holds (buffers, whole numbers) is copied. ``model`` is
    always the bare one, not what wraps it for ranks or for the compiler.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {name for name, parameter in model.named_parameters() if parameter.is_floating_point()}
        self._average = {name: tensor.clone() for name, tensor in _tensors(model).items()}
        self._is_swapped = False

    @property
    def state(self) -> dict[str, Tensor]:
        """The average under the names of the model's state dict, a tensor of several names under its first; the
        tensors themselves, no copies."""
        self._refuse_if_swapped()
        return dict(self._average)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the weights after a step."""
        self._refuse_if_swapped()
        now = _tensors(model)
        averaged = [name for name in self._average if name in self._weights]
        torch._foreach_lerp_([self._average[n] for n in averaged], [now[n] for n in averaged], 1 - self.decay)
        for name in self._average.keys() - self._weights:
            self._average[name].copy_(now[name])

    def load(self, state: Mapping[str, Tensor], source: Path) -> None:
        """Goes on from what ``state`` gave; ``source`` is where it comes from, for messages.

        Raises:
            InputError: it is that of another architecture, or there is none.
        """
        self._refuse_if_swapped()
        load_weights(self._average, state, source)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average within, and its own weights again afterwards, to the bit. Takes the memory of
        one tensor, not of a model."""
        self._refuse_if_swapped()
        self._swap(model)
        self._is_swapped = True
        try:
            yield
        finally:
            self._is_swapped = False
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, tensor in _tensors(model).items():
            own = tensor.clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(own)

    def _refuse_if_swapped(self) -> None:
        if self._is_swapped:
            raise RuntimeError("the average is in the model now; leave swapped() first")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """What the state dict holds, each tensor once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor))
    return {name: tensor.detach() for name, tensor in found.values()}
