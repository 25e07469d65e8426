"""What a run has taken and will take: rates over the last steps, device-hours, memory."""

from __future__ import annotations

import resource
import sys
from collections import deque
from dataclasses import dataclass

import torch

TIMED = (
    "samples_per_s", "waiting", "mfu", "device_hours", "device_hours_to_go", "seconds_to_go", "peak_memory_mb",
)  # fmt: skip
_WINDOW = 50


@dataclass(frozen=True)
class _Step:
    seconds: float
    waited: float
    samples: int
    flops: float
    ranks: int


class Meter:
    """Takes each step's figures and says how the run goes; rates are sums over the last ``window`` steps.

    total_steps, done: of the run; the rest is to go. peak: FLOP/s of one device, None where it is unknown. spent:
    device-seconds that the run had taken before this process, from its checkpoint.
    """

    def __init__(
        self, total_steps: int, done: int = 0, peak: float | None = None, spent: float = 0.0, window: int = _WINDOW
    ) -> None:
        self.spent = spent
        self._total, self._done, self._peak = total_steps, done, peak
        self._last: deque[_Step] = deque(maxlen=window)
        self._steps_here, self._beside_s = 0, 0.0

    def step(self, seconds: float, waited: float, samples: int, flops: float, ranks: int = 1) -> None:
        """One step: ``seconds`` from the end of the last to its own, ``waited`` of them for data; ``samples`` and
        useful ``flops`` are those of all ``ranks``."""
        self._last.append(_Step(seconds, waited, samples, flops, ranks))
        self.spent += seconds * ranks
        self._done += 1
        self._steps_here += 1

    def beside(self, seconds: float, ranks: int = 1) -> None:
        """Time that no step took: validation, waiting for a disk."""
        self.spent += seconds * ranks
        self._beside_s += seconds

    def values(self) -> dict[str, float]:
        """What the journal keeps, under ``TIMED``; nothing before the first step, no ``mfu`` without a peak.

        samples_per_s: over all ranks. waiting, mfu: shares from 0 to 1. device_hours: so far, earlier processes
        included; device_hours_to_go and seconds_to_go: at the pace of the last steps and what came beside them.
        """
        if not self._last:
            return {}
        seconds = sum(step.seconds for step in self._last) or 1e-9
        able = sum(step.seconds * step.ranks for step in self._last) * (self._peak or 0.0)
        a_step = seconds / len(self._last) + self._beside_s / self._steps_here
        to_go = max(0, self._total - self._done) * a_step
        found = {
            "samples_per_s": sum(step.samples for step in self._last) / seconds,
            "waiting": sum(step.waited for step in self._last) / seconds,
            "device_hours": self.spent / 3600,
            "device_hours_to_go": to_go * self._last[-1].ranks / 3600,
            "seconds_to_go": to_go,
        }
        return found | ({"mfu": sum(step.flops for step in self._last) / able} if able else {})


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far, in MB (10^6 bytes): by tensors on the GPU, or by the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
