"""What a run's steps cost: the meter, fed with the operations that the model needs for each batch."""

from __future__ import annotations

import torch

from train.forecast.cost import StepCost
from train.forecast.peak import peak_of
from train.run.meter import Meter, peak_memory_mb


class Spending:
    """Rates, MFU, device-hours and memory of a run over ``ranks`` alike; a rank's own share stands for the others'.

    spent: device-seconds so far, which a checkpoint keeps.
    """

    def __init__(self, precision: str, device: torch.device, ranks: int, total_steps: int) -> None:
        self._device, self._ranks, self._total = device, ranks, total_steps
        self._peak = peak_of(device, precision).flops
        self.go_on(0, 0.0)

    def go_on(self, done: int, spent: float) -> None:
        """From step ``done``, with what earlier processes spent."""
        self._meter = Meter(self._total, done, self._peak, spent)

    @property
    def spent(self) -> float:
        """Device-seconds."""
        return self._meter.spent

    def step(self, cost: StepCost, clips: int, seconds: float, waited: float) -> dict[str, float]:
        """Takes in a step of all ranks that cost so much, on this rank's ``clips``; gives what the journal keeps."""
        self._meter.step(seconds, waited, clips * self._ranks, cost.useful, self._ranks)
        return self._meter.values() | {"peak_memory_mb": peak_memory_mb(self._device)}

    def beside(self, seconds: float) -> None:
        """Time that no step took."""
        self._meter.beside(seconds, self._ranks)
