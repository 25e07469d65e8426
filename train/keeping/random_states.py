"""States of the generators that a rank may draw from: torch's, Python's and NumPy's, as JSON."""

from __future__ import annotations

import base64
import binascii
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MERSENNE = 624  # words of a Mersenne twister's state
_PHILOX_BYTES = 16  # a CUDA generator's seed and offset, int64 each; the offset is a multiple of 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RandomStates:
    """One rank's. ``cuda`` is that of the device it learns on, empty on a CPU; bytes as the library gives them.

    python: version, state and the Gaussian put by, as ``random.getstate`` gives them; numpy: as the global generator's
    ``get_state(legacy=True)``.
    """

    cpu: bytes
    cuda: bytes
    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, tuple[int, ...], int, int, float]

    @classmethod
    def capture(cls, device: torch.device = _CPU) -> RandomStates:
        """The states now; ``device`` is the one that the rank learns on."""
        cuda = _bytes(torch.cuda.get_rng_state(device)) if device.type == "cuda" else b""
        return cls(_bytes(torch.get_rng_state()), cuda, random.getstate(), _numpy_state(np.random.get_state()))

    @classmethod
    def seeded(cls, seed: int, rank: int, step: int) -> RandomStates:
        """What a rank that was not there before begins with at ``step``: a function of the three."""
        one, other, third, fourth = np.random.SeedSequence((seed, rank, step)).generate_state(4).tolist()
        wide = one << 31 | other >> 1  # 63 bits: both seeds are signed
        cuda = wide.to_bytes(8, "little") + bytes(8)
        cpu = _bytes(torch.Generator().manual_seed(wide).get_state())
        numpy = _numpy_state(np.random.RandomState(fourth).get_state(legacy=True))
        return cls(cpu, cuda, random.Random(third).getstate(), numpy)

    def restore(self, device: torch.device = _CPU) -> None:
        """Puts the generators back; a CUDA device whose state was not kept is left as it is."""
        torch.set_rng_state(_tensor(self.cpu))
        if device.type == "cuda" and self.cuda:
            torch.cuda.set_rng_state(_tensor(self.cuda), device)
        random.setstate(self.python)
        name, keys, *rest = self.numpy
        np.random.set_state((name, np.array(keys, np.uint32), *rest))

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, about 12 KB."""
        version, words, gauss = self.python
        name, keys, *rest = self.numpy
        return {
            "cpu": base64.b64encode(self.cpu).decode(),
            "cuda": base64.b64encode(self.cuda).decode(),
            "python": [version, _pack(words), gauss],
            "numpy": [name, _pack(keys), *rest],
        }

    @classmethod
    def from_json(cls, tree: Any) -> RandomStates:
        """What ``to_json`` made. Each state is tried on a generator of its own first.

        Raises:
            ValueError: this is no such tree; the message says what is wrong with which state.
        """
        if not isinstance(tree, dict) or set(tree) != {"cpu", "cuda", "python", "numpy"}:
            raise ValueError("random states are not the four of a rank: cpu, cuda, python, numpy")
        found = cls(
            _decode("cpu", tree["cpu"]), _decode("cuda", tree["cuda"]), _python(tree["python"]), _numpy(tree["numpy"])
        )
        try:
            torch.Generator().set_state(_tensor(found.cpu))
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"random state cpu: {str(error).splitlines()[0]}") from None
        if found.cuda and (len(found.cuda) != _PHILOX_BYTES or int.from_bytes(found.cuda[8:], "little") % 4):
            raise ValueError("random state cuda: not a seed and an offset")
        return found


def of_rank(saved: Sequence[RandomStates], rank: int, seed: int, step: int) -> RandomStates:
    """The state that ``rank`` goes on with: the one it saved, or a seeded one for a rank that was not there."""
    return saved[rank] if rank < len(saved) else RandomStates.seeded(seed, rank, step)


def _bytes(state: Tensor) -> bytes:
    return state.numpy().tobytes()


def _tensor(state: bytes) -> Tensor:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8) if state else torch.empty(0, dtype=torch.uint8)


def _numpy_state(state: Any) -> tuple[str, tuple[int, ...], int, int, float]:
    name, keys, position, has_gauss, gauss = state
    return str(name), tuple(keys.tolist()), int(position), int(has_gauss), float(gauss)


def _pack(words: Sequence[int]) -> str:
    return base64.b64encode(np.array(words, "<u4").tobytes()).decode()


def _decode(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"random state {name}: not base64") from None


def _words(name: str, text: Any, count: int) -> tuple[int, ...]:
    packed = _decode(name, text)
    if len(packed) != 4 * count:
        raise ValueError(f"random state {name}: {len(packed)} bytes, expected {4 * count}")
    return tuple(np.frombuffer(packed, "<u4").tolist())


def _python(tree: Any) -> tuple[int, tuple[int, ...], float | None]:
    if not isinstance(tree, list) or len(tree) != 3:
        raise ValueError("random state python: not its three parts")
    version, text, gauss = tree
    state = (version, _words("python", text, _MERSENNE + 1), gauss)
    if gauss is not None and not _is_number(gauss):
        raise ValueError("random state python: its Gaussian is no number")
    try:
        random.Random().setstate(state)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"random state python: {error}") from None
    return state


def _numpy(tree: Any) -> tuple[str, tuple[int, ...], int, int, float]:
    if not isinstance(tree, list) or len(tree) != 5:
        raise ValueError("random state numpy: not its five parts")
    name, text, position, has_gauss, gauss = tree
    keys = _words("numpy", text, _MERSENNE)
    in_range = name == "MT19937" and has_gauss in (0, 1) and type(position) is int and 0 <= position <= _MERSENNE
    if not in_range or not _is_number(gauss):
        raise ValueError("random state numpy: not that of a Mersenne twister")
    return name, keys, position, int(has_gauss), float(gauss)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)
